// Package status is what the daemon says about itself: the report, the local
// socket that serves it and the client that reads it.
package status

import (
	"net/netip"
	"time"

	"github.com/ropeway-net/ropeway/daemon/topology"
)

// Report is the state of a node as its daemon sees it.
type Report struct {
	Node  string        `json:"node"`
	Mode  topology.Mode `json:"mode"`
	Ready bool          `json:"ready"` // the kernel holds what it should
	// Reason says why the node is not ready; empty when it is.
	Reason string `json:"reason,omitempty"`

	Address  Address         `json:"address"` // of this node
	PodCIDRs []netip.Prefix  `json:"podCIDRs"`
	PodMTU   int             `json:"podMTU"` // bytes
	Pods     int             `json:"pods"`   // attached, with an endpoint record
	Nodes    Nodes           `json:"nodes"`
	Paths    []topology.Path `json:"paths"`
	// Problems name what keeps some peer, pod or family from working.
	Problems []string `json:"problems"`

	// Reachability is what probing the peers has found; nil: they are not
	// probed.
	Reachability *Reachability `json:"reachability,omitempty"`

	// ConfigRejected says why the configuration file's present content is not
	// in use; empty: it is.
	ConfigRejected string `json:"configRejected,omitempty"`

	Last Pass `json:"lastReconcile"`
	// Objects counts what the kernel should hold and what it was last seen to
	// hold, by kind; nil: not looked at yet.
	Objects map[string]Objects `json:"objects,omitempty"`
	// Drift counts repairs of what somebody else changed, by kind of object.
	Drift map[string]int `json:"driftRepaired"`
}

// Address is by which addresses the other nodes reach this one, and why.
type Address struct {
	Addresses []netip.Addr `json:"addresses"` // the first is the primary one
	Reason    string       `json:"reason"`
	// Chosen says that the configuration chose, not the list of nodes.
	Chosen bool `json:"chosen"`
}

// Nodes says where the list of nodes is from.
type Nodes struct {
	Count int `json:"count"`
	// Origin names the source, or the file of the last known nodes when the
	// source has not spoken since the daemon started.
	Origin string `json:"origin,omitempty"`
	Error  string `json:"error,omitempty"` // of the source; the last good list stands
}

// Pass is one reconciliation.
type Pass struct {
	Time       time.Time     `json:"time,omitzero"` // of its end; zero: none yet
	Duration   time.Duration `json:"durationNanoseconds"`
	Operations int           `json:"operations"` // changes of the kernel
	Error      string        `json:"error,omitempty"`
	// Repaired counts what somebody else had changed, by kind of object.
	Repaired map[string]int `json:"repaired,omitempty"`
}

// Objects is a number of objects of one kind.
type Objects struct {
	Desired int `json:"desired"`
	Actual  int `json:"actual"`
}

// Kinds are the kinds of objects that are counted.
func Kinds() []string {
	return []string{"link", "address", "route", "neighbour", "fdb", "sysctl", "nftables", "shaper"}
}
