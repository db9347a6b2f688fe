package kernel

import (
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
)

const (
	// RouteProtocol marks every route that Ropeway owns (rtm_protocol).
	RouteProtocol = 114
	// TunnelPrefix begins the name of every tunnel device.
	TunnelPrefix = "ropeway-"
	// PodLinkPrefix begins the name of the host end of every pod link.
	PodLinkPrefix = "rwp"
	// TableName is the nftables table, family inet, that Ropeway owns whole.
	TableName = "ropeway"
)

// Names of the tunnel devices. There is one of each kind; of sit there is
// besides it one for each peer, named by the peer's address, while this one
// holds the node's own address in the tunnel.
const (
	VXLANLink  = "ropeway-vxlan"
	IPIPLink   = "ropeway-ipip"
	SITLink    = "ropeway-sit"
	IP6TnlLink = "ropeway-ip6tnl"
)

// MAC is an Ethernet address. The zero MAC means "not set".
type MAC [6]byte

// ParseMAC reads a unicast EUI-48 address such as 02:00:5e:10:00:01.
func ParseMAC(s string) (MAC, error) {
	hw, err := net.ParseMAC(s)
	if err != nil || len(hw) != 6 {
		return MAC{}, fmt.Errorf("%q is no MAC address; write six hexadecimal octets such as 02:00:5e:10:00:01", s)
	}
	m := MAC(hw)
	if m[0]&1 == 1 || m == (MAC{}) {
		return MAC{}, fmt.Errorf("MAC address %s is not a unicast address; clear the lowest bit of its first octet", s)
	}
	return m, nil
}

func (m MAC) String() string { return net.HardwareAddr(m[:]).String() }

// MarshalText writes the colon form; the zero MAC is the empty string.
func (m MAC) MarshalText() ([]byte, error) {
	if m == (MAC{}) {
		return nil, nil
	}
	return []byte(m.String()), nil
}

// UnmarshalText reads what MarshalText writes.
func (m *MAC) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*m = MAC{}
		return nil
	}
	parsed, err := ParseMAC(string(text))
	*m = parsed
	return err
}

// LocallyAdministered makes a unicast MAC out of the first octets of a digest.
func LocallyAdministered(digest []byte) MAC {
	if len(digest) < 6 {
		panic("kernel: digest of " + hex.EncodeToString(digest) + " is shorter than a MAC")
	}
	m := MAC(digest[:6])
	m[0] = m[0]&^1 | 2
	return m
}

// LinkKind is the kernel's name for a type of tunnel device.
type LinkKind string

// The tunnel devices that Ropeway makes.
const (
	VXLAN  LinkKind = "vxlan"
	IPIP   LinkKind = "ipip"   // IPv4 in IPv4
	SIT    LinkKind = "sit"    // IPv6 in IPv4
	IP6Tnl LinkKind = "ip6tnl" // both families in IPv6
)

// Link is a tunnel device. It is comparable: two equal Links need no change.
type Link struct {
	Name  string
	Kind  LinkKind
	Local netip.Addr // outer source address; zero for ip6tnl, see [Encap]
	// Remote is the outer destination of a sit device that leads to one peer;
	// zero for every other device, where the route says it.
	Remote netip.Addr
	MTU    int // bytes, inner packet
	Up     bool

	MAC  MAC    // vxlan only
	VNI  uint32 // vxlan only
	Port uint16 // vxlan only, UDP
	// TxChecksum says whether checksums of packets into the device are left to
	// what is below it; vxlan only. In a desired State empty leaves it as it
	// is, in an actual one it cannot be known.
	TxChecksum Offload
}

// Offload is whether work on packets is left to a later stage.
type Offload string

// The offload settings.
const (
	OffloadOn  Offload = "on"
	OffloadOff Offload = "off"
)

// over returns what is wanted of a device that exists: what neither side knows
// or wants makes no difference.
func (l Link) over(have Link) Link {
	if l.TxChecksum == "" || have.TxChecksum == "" {
		l.TxChecksum = have.TxChecksum
	}
	return l
}

// Address is an address on a tunnel device, the prefix being as long as the
// address (/32 or /128).
type Address struct {
	Link   string
	Prefix netip.Prefix
}

// RouteType is unicast or unreachable.
type RouteType string

// The route types that Ropeway uses.
const (
	Unicast     RouteType = "unicast"
	Unreachable RouteType = "unreachable" // sender gets an ICMP error at once
)

// RouteKey is what the kernel identifies a route by, in the main table.
type RouteKey struct {
	Dst    netip.Prefix // masked
	Metric int          // 0 is the kernel's default (1024 for IPv6)
}

// Route is the rest of a route of protocol [RouteProtocol]. A unicast route
// without Gateway has scope link.
type Route struct {
	Type    RouteType
	Link    string     // empty for Unreachable
	Gateway netip.Addr // zero: destination is on the link; an IPv6 gateway may serve an IPv4 Dst
	OnLink  bool
	Src     netip.Addr // preferred source; zero: the kernel chooses
	Encap   Encap      // zero: none; only on an ip6tnl device, without Gateway
}

// Encap is the outer IPv6 header that a route gives its packets (a lightweight
// tunnel, encap ip6). An ip6tnl device takes the outer destination from it: a
// gateway would not do, because the kernel accepts no onlink IPv6 gateway that
// its main table finds behind another device.
type Encap struct {
	Src, Dst netip.Addr
}

// NeighbourKey identifies a neighbour entry.
type NeighbourKey struct {
	Link string
	IP   netip.Addr
}

// FDBEntry says that frames for MAC leave the VXLAN device Link towards the
// VTEP at Dst.
type FDBEntry struct {
	Link string
	MAC  MAC
	Dst  netip.Addr
}
