// Package cluster knows who the nodes are and nothing else. A [Source] yields
// them: from a file today, from the Kubernetes API with the same interface.
package cluster

import (
	"context"
	"net/netip"
)

// Node is one machine of the cluster.
type Node struct {
	Name string `json:"name"`
	// Addresses on the underlay, at most one of each family; the first is the
	// primary one, which tunnels use.
	Addresses []netip.Addr `json:"addresses"`
	// PodCIDRs, at most one of each family, masked.
	PodCIDRs []netip.Prefix `json:"podCIDRs"`
	// Problems say what the source knows of the node and leaves out above,
	// each with its cause and remedy. A node that has some may lack addresses
	// or pod CIDRs.
	Problems []string `json:"problems,omitempty"`
}

// Source yields the nodes of the cluster.
type Source interface {
	// Run publishes the full list of nodes, sorted by name and validated,
	// once it is known and again whenever it changed, until ctx ends. A source
	// that no single hand writes leaves out what is wrong with one node and
	// names it in that node's Problems; the others must not suffer. When
	// the source becomes unreadable or invalid, the last good list stands and
	// report is called with the reason; report(nil) says that all is well
	// again. Run returns an error only when it can never work.
	Run(ctx context.Context, publish func([]Node), report func(error)) error
}
