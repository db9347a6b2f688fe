package health

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/ropeway-net/ropeway/daemon/status"
	"github.com/ropeway-net/ropeway/daemon/topology"
	"github.com/ropeway-net/ropeway/ipam"
)

// gauges turns what the daemon says about itself into figures. Every label
// takes its values from a fixed list.
type gauges struct {
	out chan<- prometheus.Metric
}

// set sends one figure; labels are pairs of name and value.
func (g gauges) set(name, help string, value float64, labels ...string) {
	var names, values []string
	for i := 0; i+1 < len(labels); i += 2 {
		names, values = append(names, labels[i]), append(values, labels[i+1])
	}
	g.out <- prometheus.MustNewConstMetric(prometheus.NewDesc(name, help, names, nil), prometheus.GaugeValue, value, values...)
}

func truth(yes bool) float64 {
	return map[bool]float64{true: 1}[yes]
}

// node is about this node alone.
func (g gauges) node(r status.Report) {
	g.set("ropeway_ready", "Whether the kernel holds what it should: 1 or 0.", truth(r.Ready))
	for _, mode := range topology.Modes() {
		g.set("ropeway_mode", "The mode in use is 1, the others 0.", truth(r.Mode == mode), "mode", string(mode))
	}
	g.set("ropeway_pods", "Pods that are attached.", float64(r.Pods))
	g.set("ropeway_pod_mtu_bytes", "Largest packet that a pod sends.", float64(r.PodMTU))
	g.set("ropeway_problems", "Problems that the daemon knows; `ropewayctl status` names them.", float64(len(r.Problems)))
	g.set("ropeway_nodes", "Nodes of the cluster that are known, this one included.", float64(r.Nodes.Count))
	g.set("ropeway_source_error", "Whether the list of nodes cannot be read at present: 1 or 0; the last good one stands.", truth(r.Nodes.Error != ""))
	g.set("ropeway_config_rejected", "Whether the configuration file's content is not in use because it is not valid: 1 or 0.", truth(r.ConfigRejected != ""))
	if !r.Last.Time.IsZero() {
		g.set("ropeway_reconcile_last_timestamp_seconds", "When the kernel was last compared with what it should hold, in seconds since 1970.", seconds(r.Last.Time))
	}
}

// peers counts nodes, not paths: a dual-stack peer has two of these. One whose
// families go different ways counts once for each.
func (g gauges) peers(r status.Report) {
	type way struct {
		peer string
		via  topology.Via
	}
	seen := map[way]bool{}
	count := map[topology.Via]int{}
	for _, p := range r.Paths {
		if w := (way{p.Peer, p.Via}); !seen[w] {
			seen[w] = true
			count[p.Via]++
		}
	}
	for _, via := range topology.Vias() {
		g.set("ropeway_peers", "Other nodes, by what carries pods' packets to them; refused means nothing does.", float64(count[via]), "via", string(via))
	}
}

// reachability is about peers that are probed; without probing there is none.
func (g gauges) reachability(r *status.Reachability) {
	if r == nil {
		return
	}
	g.set("ropeway_peers_probed", "Other nodes that are asked from time to time whether they answer.", float64(r.Probed))
	const name, help = "ropeway_peers_unreachable", "Other nodes that do not answer: the tunnel to them alone, or the node altogether."
	g.set(name, help, float64(r.TunnelsOnly), "cause", "tunnel")
	g.set(name, help, float64(r.Silent-r.TunnelsOnly), "cause", "node")
	g.set("ropeway_probe_obstacle", "Whether some or all nodes cannot be asked: 1 or 0; `ropewayctl status` says why.", truth(r.Obstacle != ""))
}

func (g gauges) objects(r status.Report) {
	if r.Objects == nil {
		return
	}
	for _, kind := range status.Kinds() {
		n := r.Objects[kind]
		g.set("ropeway_objects_desired", "Objects that the kernel should hold, by kind.", float64(n.Desired), "kind", kind)
		g.set("ropeway_objects_actual", "Objects of Ropeway that the kernel holds, by kind.", float64(n.Actual), "kind", kind)
	}
}

func (g gauges) addresses(usage []ipam.Usage) {
	type sum struct{ used, total float64 }
	sums := map[string]sum{}
	for _, u := range usage {
		f := family(u)
		s := sums[f]
		sums[f] = sum{s.used + float64(u.Used), s.total + float64(u.Total)}
	}
	for f, s := range sums {
		g.set("ropeway_addresses_used", "Pod addresses that are given out, by family.", s.used, "family", f)
		g.set("ropeway_addresses_free", "Pod addresses that are left, by family.", max(s.total-s.used, 0), "family", f)
	}
}

func family(u ipam.Usage) string {
	if len(u.RangeSet) > 0 && u.RangeSet[0].Subnet.Addr().Is6() {
		return "ipv6"
	}
	return "ipv4"
}
