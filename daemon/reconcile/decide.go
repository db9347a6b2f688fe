package reconcile

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/ropeway-net/ropeway/daemon/cluster"
	"github.com/ropeway-net/ropeway/daemon/status"
	"github.com/ropeway-net/ropeway/daemon/topology"
	"github.com/ropeway-net/ropeway/endpoint"
	"github.com/ropeway-net/ropeway/hostports"
	"github.com/ropeway-net/ropeway/kernel"
	"github.com/ropeway-net/ropeway/statedir"
)

// Config is what the loop needs to know.
type Config struct {
	Node     string // own name in the list of nodes
	Topology topology.Config
	// NodeAddress chooses among this node's addresses; empty: as listed.
	NodeAddress []topology.AddressRule
	// SourceName names the list of nodes in messages, for instance
	// "nodes file /etc/ropeway/nodes.yaml".
	SourceName string
	StateDir   statedir.Dir
	BootID     string
	Conflist   Conflist
	// Resync is the time after which everything is compared although nothing
	// was notified; 0 is a minute.
	Resync time.Duration
	// Patience is how long to wait for the source's first word before the
	// last known nodes are used; 0 is five seconds.
	Patience time.Duration
	// Notify takes what the operator should see. It must not block; nil means
	// that nobody listens.
	Notify func(status.Notice)
	// Passed takes what is known after each pass. It must not block; nil
	// means that nobody listens.
	Passed func(status.Report)
}

// Decision is what the node's kernel should hold and how to get there.
type Decision struct {
	Plan     kernel.Plan
	Desired  kernel.State
	Result   topology.Result
	Self     cluster.Node
	Address  topology.NodeAddress // of this node; known also when nothing can be decided
	Pods     int                  // records of attached pods
	Problems []error

	snapshot    kernel.Snapshot
	foreignConf error // another network's CNI configuration comes first; also a Problem
}

// Decide compares the kernel with what it should hold, and changes nothing.
// The endpoint records are read after the snapshot: a pod link that is in the
// snapshot has had its record before.
func Decide(ctx context.Context, cfg Config, k kernel.Kernel, nodes []cluster.Node) (Decision, error) {
	self, peers, err := split(nodes, cfg)
	if err != nil {
		return Decision{}, err
	}
	snapshot, err := k.Snapshot(ctx)
	if err != nil {
		return Decision{}, fmt.Errorf("read the kernel: %w", err)
	}
	records, recordsErr := endpoint.Store{Dir: cfg.StateDir.Endpoints()}.List()
	address, err := topology.ChooseAddress(self.Addresses, snapshot.Interfaces, cfg.NodeAddress)
	if err != nil {
		return Decision{}, err
	}
	self.Addresses = address.Addresses
	if err = usableSelf(self); err != nil {
		return Decision{Address: address}, err
	}
	result, err := topology.Compute(topology.Input{
		Config:     cfg.Topology,
		Self:       self,
		Peers:      peers,
		Endpoints:  records,
		BootID:     cfg.BootID,
		Interfaces: snapshot.Interfaces,
		PodLinks:   snapshot.PodLinks,
		Firewalls:  snapshot.Firewalls,
	})
	if err != nil {
		return Decision{Address: address}, err
	}
	d := Decision{Desired: result.State, Result: result, Self: self, Address: address, snapshot: snapshot}
	d.Problems = append(nodeProblems(nodes), result.Problems...)
	for _, r := range records {
		if r.BootID == cfg.BootID {
			d.Pods++
		}
	}
	unrecorded, err := linksWithout(ctx, k, snapshot, records)
	if err != nil {
		return Decision{Address: address}, err
	}
	d.Problems = append(d.Problems, recordProblems(unrecorded, recordsErr)...)
	if f, found := cfg.Conflist.foreignConf(); found {
		d.foreignConf = f.problem(cfg.Conflist.Path())
		d.Problems = append(d.Problems, d.foreignConf)
	}
	keepUnrecorded(&d.Desired, snapshot, unrecorded)
	d.Plan = kernel.Diff(snapshot.State, d.Desired)
	return d, nil
}

// linksWithout returns the pod links that have no record. Since a record is
// written before its link is made and removed after, one that is missing is
// lost, unless the pod was detached between snapshot and reading: then the
// link is gone by now.
func linksWithout(ctx context.Context, k kernel.Kernel, snapshot kernel.Snapshot, records []endpoint.Record) (map[string]kernel.Admin, error) {
	unrecorded := maps.Clone(snapshot.PodLinks)
	for _, r := range records {
		delete(unrecorded, r.HostLink)
	}
	if len(unrecorded) == 0 {
		return nil, nil
	}
	now, err := k.Snapshot(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the kernel: %w", err)
	}
	maps.DeleteFunc(unrecorded, func(link string, _ kernel.Admin) bool {
		_, still := now.PodLinks[link]
		return !still
	})
	return unrecorded, nil
}

// recordProblems tells of records that cannot be read or are lost.
func recordProblems(unrecorded map[string]kernel.Admin, recordsErr error) []error {
	const remedy = "what the pods concerned have is left alone, restart them to repair this"
	var problems []error
	if recordsErr != nil {
		problems = append(problems, fmt.Errorf("%w; %s", recordsErr, remedy))
	} else if len(unrecorded) > 0 {
		links := slices.Sorted(maps.Keys(unrecorded))
		problems = append(problems, fmt.Errorf("no endpoint record tells whose %s is; %s", firstOf(links), remedy))
	}
	return problems
}

// firstOf lists names, but not so many that nobody reads them.
func firstOf(names []string) string {
	const most = 10
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return strings.Join(names[:most], ", ") + fmt.Sprintf(" and %d more", len(names)-most)
}

// split finds this node in the list.
func split(nodes []cluster.Node, cfg Config) (self cluster.Node, peers []cluster.Node, err error) {
	found := false
	for _, n := range nodes {
		if n.Name == cfg.Node {
			self, found = n, true
			continue
		}
		peers = append(peers, n)
	}
	if found {
		return self, peers, nil
	}
	names := make([]string, 0, len(nodes))
	for _, n := range nodes {
		names = append(names, n.Name)
	}
	return self, nil, fmt.Errorf("node %q is not in %s, which lists %s; add it there (in Kubernetes its kubelet does), or set node in the configuration; what is there stays", cfg.Node, cfg.SourceName, firstOf(names))
}

// keepUnrecorded leaves routes, neighbours, host ports and limits of pod links in
// place whose records are lost or cannot be read: a pod must not be cut off
// because of a file.
func keepUnrecorded(desired *kernel.State, snapshot kernel.Snapshot, unrecorded map[string]kernel.Admin) {
	for key, route := range snapshot.State.Routes {
		if _, ok := unrecorded[route.Link]; !ok {
			continue
		}
		if _, taken := desired.Routes[key]; !taken {
			desired.Routes[key] = route
		}
	}
	var pods []netip.Addr
	for key, mac := range snapshot.State.Neighbours {
		if _, ok := unrecorded[key.Link]; ok {
			desired.Neighbours[key] = mac
			pods = append(pods, key.IP)
		}
	}
	for key, shaper := range snapshot.State.Shapers {
		if _, ok := unrecorded[key.Link]; ok {
			desired.Shapers[key] = shaper
		}
	}
	if len(pods) > 0 && snapshot.State.Table != nil && desired.Table != nil {
		hostports.Keep(desired.Table, snapshot.State.Table, pods)
	}
}
