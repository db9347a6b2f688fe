package reconcile

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/ropeway-net/ropeway/daemon/cluster"
	"github.com/ropeway-net/ropeway/daemon/topology"
	"github.com/ropeway-net/ropeway/endpoint"
	"github.com/ropeway-net/ropeway/kernel"
	"github.com/ropeway-net/ropeway/statedir"
)

// Config is what the loop needs to know.
type Config struct {
	Node     string // own name in the list of nodes
	Topology topology.Config
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
}

// Decision is what the node's kernel should hold and how to get there.
type Decision struct {
	Plan     kernel.Plan
	Desired  kernel.State
	Result   topology.Result
	Self     cluster.Node
	Pods     int // records of attached pods
	Problems []error

	snapshot kernel.Snapshot
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
	result, err := topology.Compute(topology.Input{
		Config:     cfg.Topology,
		Self:       self,
		Peers:      peers,
		Endpoints:  records,
		BootID:     cfg.BootID,
		Interfaces: snapshot.Interfaces,
		PodLinks:   snapshot.PodLinks,
	})
	if err != nil {
		return Decision{}, err
	}
	d := Decision{Desired: result.State, Result: result, Self: self, Problems: result.Problems, snapshot: snapshot}
	for _, r := range records {
		if r.BootID == cfg.BootID {
			d.Pods++
		}
	}
	if recordsErr != nil {
		d.Problems = append(slices.Clone(d.Problems), fmt.Errorf("%w; what the pods concerned have is left alone, detach them to repair this", recordsErr))
		keepUnrecorded(&d.Desired, snapshot, records)
	}
	d.Plan = kernel.Diff(snapshot.State, d.Desired)
	return d, nil
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
	const most = 10
	var names []string
	for _, n := range nodes[:min(most, len(nodes))] {
		names = append(names, n.Name)
	}
	list := strings.Join(names, ", ")
	if len(nodes) > most {
		list += fmt.Sprintf(" and %d more", len(nodes)-most)
	}
	return self, nil, fmt.Errorf("node %q is not in %s, which lists %s; add it there, or set node in the configuration; what is there stays", cfg.Node, cfg.SourceName, list)
}

// keepUnrecorded leaves the routes and neighbours of pod links in place whose
// records may be among those that cannot be read.
func keepUnrecorded(desired *kernel.State, snapshot kernel.Snapshot, records []endpoint.Record) {
	unknown := maps.Clone(snapshot.PodLinks)
	for _, r := range records {
		delete(unknown, r.HostLink)
	}
	for key, route := range snapshot.State.Routes {
		if _, ok := unknown[route.Link]; !ok {
			continue
		}
		if _, taken := desired.Routes[key]; !taken {
			desired.Routes[key] = route
		}
	}
	for key, mac := range snapshot.State.Neighbours {
		if _, ok := unknown[key.Link]; ok {
			desired.Neighbours[key] = mac
		}
	}
}
