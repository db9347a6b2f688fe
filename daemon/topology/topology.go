// Package topology decides what a node's kernel should hold: pure functions
// from nodes, endpoints, configuration and underlay facts to a kernel.State,
// and for each peer the path chosen and the reason.
package topology

import (
	"net/netip"

	"github.com/ropeway-net/ropeway/daemon/cluster"
	"github.com/ropeway-net/ropeway/endpoint"
	"github.com/ropeway-net/ropeway/kernel"
)

// Mode is how pod traffic travels between nodes.
type Mode string

// The five modes.
const (
	VXLAN            Mode = "vxlan"
	VXLANCrossSubnet Mode = "vxlan-cross-subnet"
	IPIP             Mode = "ipip"
	IPIPCrossSubnet  Mode = "ipip-cross-subnet"
	Direct           Mode = "direct"
)

// Modes are all there are.
func Modes() []Mode { return []Mode{VXLAN, VXLANCrossSubnet, IPIP, IPIPCrossSubnet, Direct} }

// Config is the part of the daemon's configuration that shapes the paths.
type Config struct {
	Mode       Mode
	MTU        int    // bytes, of pods; 0: from the underlay
	VNI        uint32 // vxlan network identifier
	Port       uint16 // vxlan UDP port
	Masquerade bool   // pods reach the outside with the node's address

	ChecksumOffload ChecksumOffload // of the VXLAN device
}

// Input is everything a decision depends on.
type Input struct {
	Config     Config
	Self       cluster.Node
	Peers      []cluster.Node // without Self
	Endpoints  []endpoint.Record
	BootID     string                  // records of other boots are ignored
	Interfaces []kernel.Interface      // of this node, Ropeway's own left out
	PodLinks   map[string]kernel.Admin // host ends
	Firewalls  []kernel.Firewall       // of others, that drop
}

// Path is how pods of one peer and one family are reached.
type Path struct {
	Peer    string       `json:"peer"`
	PodCIDR netip.Prefix `json:"podCIDR"`
	Via     Via          `json:"via"`
	NextHop netip.Addr   `json:"nextHop,omitzero"` // next hop or tunnel end
	Link    string       `json:"link,omitempty"`   // outgoing interface
	Reason  string       `json:"reason"`           // one clause, for people
}

// Via is what carries a path.
type Via string

// What carries a path. Refused paths are answered with an ICMP error.
const (
	ViaDirect  Via = "direct"
	ViaVXLAN   Via = "vxlan"
	ViaIPIP    Via = "ipip"
	ViaSIT     Via = "sit"
	ViaIP6Tnl  Via = "ip6tnl"
	ViaRefused Via = "refused"
)

// Vias are all there are.
func Vias() []Via { return []Via{ViaDirect, ViaVXLAN, ViaIPIP, ViaSIT, ViaIP6Tnl, ViaRefused} }

// Result is the decision.
type Result struct {
	State   kernel.State
	PodMTU  int          // bytes
	Sources []netip.Addr // preferred sources towards own pods, by family
	Paths   []Path       // sorted by peer, then PodCIDR
	// Problems name what keeps some peer or family from working; the rest of
	// the State is valid.
	Problems []error
	// Obstacles are what stands in the way on this host, dealt with or not.
	Obstacles []Obstacle
}
