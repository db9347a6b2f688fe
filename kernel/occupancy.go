package kernel

import "net/netip"

// Occupancy is what holds addresses on this machine right now, whoever made it.
type Occupancy struct {
	// Holders are the network namespaces that hold an address, other than the
	// caller's, as paths by which they can be entered.
	Holders map[netip.Addr][]string
	// Node are the addresses of the caller's own namespace.
	Node map[netip.Addr]bool
	// Routes are the links to which the caller's namespace has a route for the
	// address alone.
	Routes map[netip.Addr]string
	// PodLinks are the host ends of pod links, with the addresses of the pods
	// behind them, by permanent neighbours.
	PodLinks map[string][]netip.Addr
	// Blind says why there may be namespaces that were not seen; empty when
	// all were.
	Blind string
}
