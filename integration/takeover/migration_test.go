package takeover

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ropeway-net/ropeway/leases"
	"github.com/ropeway-net/ropeway/statedir"
)

// subnet is one that no other test uses: whoever on the machine has an address,
// in whichever namespace, keeps it from being freed.
const subnet = "198.18.77.0/24"

// newKernelNode is a node with a network namespace.
func newKernelNode(t *testing.T) *node {
	t.Helper()
	n := newNode(t)
	n.netns = newNetns(t)
	command(t, n.netns, "ip", "link", "set", "lo", "up")
	return n
}

// old is the configuration that the node comes from.
func (n *node) old(plugin string) map[string]any {
	return map[string]any{
		"cniVersion": "1.0.0", "name": "net", "type": plugin, "bridge": "cni0", "isGateway": true,
		"ipam": map[string]any{
			"type": theirs, "dataDir": n.networks,
			"ranges": [][]map[string]string{{{"subnet": subnet}}}, "routes": []map[string]string{{"dst": "0.0.0.0/0"}},
		},
	}
}

// new is the configuration that it changes to: the same network, now Ropeway's.
func (n *node) new() map[string]any {
	return map[string]any{
		"cniVersion": "1.0.0", "name": "net", "type": "ropeway", "stateDir": n.state, "podCIDRs": []string{subnet},
		"ipam": map[string]any{"type": ours, "dataDir": n.networks},
	}
}

func (n *node) places() leases.Places {
	return leases.Places{State: statedir.Dir(n.state), Networks: n.networks, Conf: filepath.Join(n.state, "net.d"), Results: filepath.Join(n.state, "results")}
}

// inspect looks at the node with the eyes of `ropewayctl ipam`.
func (n *node) inspect() leases.Report {
	n.t.Helper()
	var r leases.Report
	var err error
	in(n.t, n.netns, func() { r, err = leases.Inspect(n.t.Context(), n.places()) })
	if err != nil {
		n.t.Fatal(err)
	}
	return r
}

func (n *node) collect() []string {
	n.t.Helper()
	var c leases.Collection
	var err error
	in(n.t, n.netns, func() { c, err = leases.Collect(n.t.Context(), n.places()) })
	if err != nil {
		n.t.Fatal(err)
	}
	var freed []string
	for _, l := range c.Freed {
		freed = append(freed, l.Address.String())
	}
	return freed
}

// uses are the addresses of the network with whether they are in use.
func uses(r leases.Report) map[string]leases.Use {
	all := map[string]leases.Use{}
	for _, n := range r.Networks {
		for _, l := range n.Leases {
			all[l.Address.String()] = l.Use
		}
	}
	return all
}

func (n *node) reaches(from, to string) {
	n.t.Helper()
	if _, err := netip.ParseAddr(to); err != nil {
		n.t.Fatalf("no address: %q", to)
	}
	command(n.t, from, "ping", "-c", "1", "-W", "5", to)
}

// TestNodeChangesToRopewayWithItsPodsRunning attaches pods with the reference
// plugins, changes the configuration, attaches more, and detaches all with the
// new one.
func TestNodeChangesToRopewayWithItsPodsRunning(t *testing.T) {
	for _, plugin := range []string{"ptp", "bridge"} {
		t.Run(plugin, func(t *testing.T) {
			n := newKernelNode(t)
			pods := map[string]string{"old0": newNetns(t), "old1": newNetns(t), "new": newNetns(t)}
			results := map[string]answer{}
			for _, id := range []string{"old0", "old1"} {
				results[id] = n.must(call{plugin, "ADD", id, pods[id], n.old(plugin)})
			}
			results["new"] = n.must(call{"ropeway", "ADD", "new", pods["new"], n.new()})
			same(t, "the new pod's address", []string{"198.18.77.4"}, results["new"].addresses())
			n.reaches(n.netns, "198.18.77.2")
			n.reaches(n.netns, "198.18.77.4")
			if plugin == "ptp" { // pods on a bridge look for the subnet on their link
				n.reaches(pods["old0"], "198.18.77.4")
				n.reaches(pods["new"], "198.18.77.3")
			}

			r := n.inspect()
			same(t, "in use", map[string]leases.Use{"198.18.77.2": leases.InUse, "198.18.77.3": leases.InUse, "198.18.77.4": leases.InUse}, uses(r))
			if len(r.Problems) > 0 {
				t.Errorf("problems: %+v", r.Problems)
			}
			same(t, "freed", []string(nil), n.collect())

			for _, id := range []string{"old0", "new"} {
				n.must(call{"ropeway", "DEL", id, pods[id], withPrevious(n.new(), results[id])})
				dropNetns(t, pods[id]) // as the runtime does
			}
			same(t, "after two DELs", []string{"198.18.77.3"}, n.reservations())
			n.reaches(n.netns, "198.18.77.3")
			n.must(call{"ropeway", "DEL", "old1", "", n.new()}) // with nothing to go by
			dropNetns(t, pods["old1"])
			same(t, "after all DELs", []string(nil), n.reservations())
			n.wantPodLinks(0)
		})
	}
}

// wantPodLinks waits for the kernel to take down the links of namespaces that
// are gone, which it does one after the other for the whole machine.
func (n *node) wantPodLinks(want int) {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(n.t.Context(), 2*time.Minute)
	defer cancel()
	for {
		links := command(n.t, n.netns, "ip", "-o", "link", "show", "type", "veth")
		if strings.Count(links, "\n") == want {
			return
		}
		select {
		case <-ctx.Done():
			n.t.Errorf("want %d links, there are:\n%s", want, links)
			return
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// age makes reservations look an hour old.
func (n *node) age(names ...string) {
	n.t.Helper()
	then := time.Now().Add(-time.Hour)
	for _, name := range names {
		if err := os.Chtimes(filepath.Join(n.networks, "net", name), then, then); err != nil {
			n.t.Fatal(err)
		}
	}
}

// TestCollectFreesWhatNoDelCameForAndNothingElse leaves a node what runtimes
// leave: a pod whose namespace was taken down without a DEL, a reservation whose
// ADD was killed, and a file torn by a crash.
func TestCollectFreesWhatNoDelCameForAndNothingElse(t *testing.T) {
	n := newKernelNode(t)
	alive, dead := newNetns(t), newNetns(t)
	n.must(call{"ropeway", "ADD", "alive", alive, n.new()})
	n.must(call{"ropeway", "ADD", "dead", dead, n.new()})
	dropNetns(t, dead)
	n.wantPodLinks(1)
	n.put("198.18.77.50", "killed\r\neth0")
	n.put("198.18.77.51", "young\r\neth0")
	n.put("198.18.77.52", "")
	// An address of no range, and of no other test whose namespaces are on the machine.
	n.put("198.18.88.1", "elsewhere\r\neth0")
	n.age("198.18.77.50", "198.18.88.1")

	same(t, "in use", map[string]leases.Use{
		"198.18.77.2": leases.InUse, "198.18.77.3": leases.Unused, "198.18.77.50": leases.Unused, "198.18.77.51": leases.Unsure,
		"198.18.77.52": leases.Unused, "198.18.88.1": leases.Unused,
	}, uses(n.inspect()))
	same(t, "freed", []string{"198.18.77.3", "198.18.77.50", "198.18.77.52", "198.18.88.1"}, n.collect())
	same(t, "left", []string{"198.18.77.2", "198.18.77.51"}, n.reservations())
	n.must(call{"ropeway", "DEL", "dead", "", n.new()})
	n.must(call{"ropeway", "CHECK", "alive", alive, withPrevious(n.new(), answer{raw: []byte(`{"cniVersion":"1.0.0","interfaces":[{"name":"eth0","sandbox":"` + alive + `"}],"ips":[{"address":"198.18.77.2/32","interface":0}]}`)})})
	n.must(call{"ropeway", "DEL", "alive", alive, n.new()})
}
