package kernel

import (
	"errors"
	"net/netip"
)

// GatewayMAC is the address that the host end of every pod link has, on every
// node, so that a pod's permanent neighbour entry for its gateway is known
// before the link exists: locally administered, the rest spells "ropwy".
func GatewayMAC() MAC { return MAC{0x02, 'r', 'o', 'p', 'w', 'y'} }

// GatewayIPv4 is the link-local address that pods route IPv4 through. Every
// host end has it.
func GatewayIPv4() netip.Addr { return netip.AddrFrom4([4]byte{169, 254, 1, 1}) }

// GatewayIPv6 is fe80::1, the IPv6 counterpart of [GatewayIPv4].
func GatewayIPv6() netip.Addr { return netip.AddrFrom16([16]byte{0: 0xfe, 1: 0x80, 15: 1}) }

// GatewayFor is the gateway of the family of addr.
func GatewayFor(addr netip.Addr) netip.Addr {
	if addr.Is4() {
		return GatewayIPv4()
	}
	return GatewayIPv6()
}

// PodLink is one pod's veth pair: the host end in the caller's namespace, the
// pod end in the pod's.
type PodLink struct {
	// Network is the CNI network that the link is for; it stands in the host
	// end's alias, where operators and garbage collection find it.
	Network  string
	HostName string // of the host end
	Name     string // of the pod end
	MAC      MAC    // of the pod end
	MTU      int    // bytes, both ends
	// PodAsks says to Check that the pod may have to ask for its gateway's
	// MAC address: the kernel forgets an interface's neighbours, permanent ones
	// too, when somebody sets its MAC address, be it to the same one. The host
	// end answers.
	PodAsks bool
	// Addresses of the pod, at least one.
	Addresses []netip.Addr
	// Sources are the preferred sources of the host routes, at most one of
	// each family.
	Sources []netip.Addr
	// Routes are what the pod reaches through the gateway of their family;
	// see [DefaultRoutes].
	Routes []netip.Prefix
	// Loopback says that the host end carries what the node sends from
	// 127.0.0.0/8; see [CarryLoopback].
	Loopback bool
	// Standalone says that no daemon sets the node's forwarding, so that the
	// link must see to it that its own packets are forwarded.
	Standalone bool
}

// HasFamilyOf says whether the pod has an address of the family of addr.
func (l PodLink) HasFamilyOf(addr netip.Addr) bool {
	for _, a := range l.Addresses {
		if a.Is4() == addr.Is4() {
			return true
		}
	}
	return false
}

// gateways are those of the pod's families, IPv4 first.
func (l PodLink) gateways() []netip.Addr {
	var gws []netip.Addr
	for _, gw := range []netip.Addr{GatewayIPv4(), GatewayIPv6()} {
		if l.HasFamilyOf(gw) {
			gws = append(gws, gw)
		}
	}
	return gws
}

// source is the preferred source of the host route to addr, if there is one.
func (l PodLink) source(addr netip.Addr) netip.Addr {
	for _, s := range l.Sources {
		if s.Is4() == addr.Is4() {
			return s
		}
	}
	return netip.Addr{}
}

// DefaultRoutes are 0.0.0.0/0 and ::/0, as far as addresses are of the family.
func DefaultRoutes(addresses []netip.Addr) []netip.Prefix {
	var routes []netip.Prefix
	l := PodLink{Addresses: addresses}
	if l.HasFamilyOf(GatewayIPv4()) {
		routes = append(routes, netip.PrefixFrom(netip.IPv4Unspecified(), 0))
	}
	if l.HasFamilyOf(GatewayIPv6()) {
		routes = append(routes, netip.PrefixFrom(netip.IPv6Unspecified(), 0))
	}
	return routes
}

// Step is one part of a transaction.
type Step struct {
	Name string // what it does, to stand before a cause: "set pod addresses"
	Do   func() error
	// Undo takes back what Do did; nil when an earlier step's Undo covers it.
	Undo func() error
}

var (
	// ErrOwnNetns means that the namespace given as the pod's is the
	// caller's own, which must not be wired as a pod.
	ErrOwnNetns = errors.New("it is the network namespace of the plugin itself, not a pod's")
	// ErrNotNetns means that the path names something that is no network
	// namespace.
	ErrNotNetns = errors.New("it is no network namespace")
	// ErrLinkExists means that the name of one end is taken.
	ErrLinkExists = errors.New("the interface exists already")
	// ErrNoIPv6 means that IPv6 is off where an IPv6 address is wanted.
	ErrNoIPv6 = errors.New("IPv6 is switched off")
)
