package topology

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/ropeway-net/ropeway/kernel"
)

// path is a decision with what the state needs of the peer to carry it out.
type path struct {
	Path
	peer      peer
	routed    bool       // false: not even refused with an ICMP error
	tunnelEnd netip.Addr // the peer's own address in the tunnel
}

func published(paths []path) []Path {
	out := make([]Path, 0, len(paths))
	for _, p := range paths {
		out = append(out, p.Path)
	}
	return out
}

// choosePaths decides on every pod CIDR of every peer. The peers are sorted by
// name already.
func choosePaths(mode Mode, peers []peer, under underlay, t tunnels) ([]path, []error) {
	var paths []path
	var problems []error
	for _, p := range peers {
		cidrs := slices.Clone(p.podCIDRs)
		slices.SortFunc(cidrs, comparePrefixes)
		for _, c := range p.claimed {
			paths = append(paths, path{Path: refusedPath(p, c.podCIDR, c.reason), peer: p})
		}
		for _, cidr := range cidrs {
			chosen, err := choosePath(mode, p, cidr, under, t)
			paths = append(paths, chosen)
			if err != nil {
				problems = append(problems, err)
			}
		}
	}
	slices.SortStableFunc(paths, func(a, b path) int {
		if a.Peer != b.Peer {
			return 0 // sorted by the caller
		}
		return comparePrefixes(a.PodCIDR, b.PodCIDR)
	})
	return paths, problems
}

// choosePath decides on one pod CIDR of a peer: direct where the mode wants it
// and the subnet allows it, else the tunnel, else refused.
func choosePath(mode Mode, p peer, podCIDR netip.Prefix, under underlay, t tunnels) (path, error) {
	refuse := func(reason string) path {
		return path{Path: refusedPath(p, podCIDR, reason), peer: p, routed: true}
	}
	if p.refused != "" {
		return refuse(p.refused), nil // already reported for the node as a whole
	}
	reason := fmt.Sprintf("mode %s tunnels to every peer", mode)
	if mode.prefersDirect() {
		direct, obstacle := directPath(p, podCIDR, under)
		if obstacle == "" {
			return path{Path: direct, peer: p, routed: true}, nil
		}
		if mode == Direct {
			return refuse(obstacle), fmt.Errorf("pods %s of node %s cannot be reached in mode direct: %s; put the node on a subnet of this one or choose mode %s",
				podCIDR, p.Name, obstacle, VXLANCrossSubnet)
		}
		reason = obstacle + ", tunnelled"
	}
	return tunnelPath(p, podCIDR, under, t, reason, refuse)
}

// directPath routes to the peer's address of the same family. IPv4 pods of
// nodes without a common IPv4 underlay go by an IPv6 next hop. It returns the
// obstacle when the peer is not on the same subnet.
func directPath(p peer, podCIDR netip.Prefix, under underlay) (Path, string) {
	pods := familyOf(podCIDR.Addr())
	up, haveOwn := under.byFamily[pods]
	hop, havePeer := ofFamily(p.Addresses, pods)
	if pods == ipv4 && (!haveOwn || !havePeer) {
		up, haveOwn = under.byFamily[ipv6]
		hop, havePeer = ofFamily(p.Addresses, ipv6)
	}
	if !haveOwn || !havePeer {
		return Path{}, fmt.Sprintf("no %s address on both nodes", pods)
	}
	subnet, ok := up.onLink(hop)
	if !ok {
		return Path{}, "behind a router"
	}
	return Path{
		Peer: p.Name, PodCIDR: podCIDR, Via: ViaDirect, NextHop: hop, Link: up.iface.Name,
		Reason: fmt.Sprintf("same subnet %s on %s", subnet, up.iface.Name),
	}, ""
}

// tunnelPath reaches the peer at its primary address, which is where its end
// of the tunnel listens.
func tunnelPath(p peer, podCIDR netip.Prefix, under underlay, t tunnels, reason string, refuse func(string) path) (path, error) {
	pods := familyOf(podCIDR.Addr())
	tun, ok := t[pods]
	if !ok {
		return refuse(fmt.Sprintf("this node has no %s pod CIDR", pods)), nil
	}
	if len(p.Addresses) == 0 && len(p.Problems) > 0 {
		return refuse("the node has no usable address"), nil // its problems say why
	}
	if len(p.Addresses) == 0 {
		return refuse("the node has no address"), fmt.Errorf("node %s has no address; give it the address by which the other nodes reach it", p.Name)
	}
	remote := p.Addresses[0]
	if local := under.primary.addr; remote.Is4() != local.Is4() {
		reason = fmt.Sprintf("its primary address %s is of another family than %s", remote, local)
		return refuse(reason), fmt.Errorf("node %s is not reached: %s; list the addresses of all nodes in the same order", p.Name, reason)
	}
	end, _ := TunnelAddress(podCIDR)
	return path{
		Path:      Path{Peer: p.Name, PodCIDR: podCIDR, Via: tun.via, NextHop: remote, Link: tun.linkTo(remote).Name, Reason: reason},
		peer:      p,
		routed:    true,
		tunnelEnd: end,
	}, nil
}

func refusedPath(p peer, podCIDR netip.Prefix, reason string) Path {
	return Path{Peer: p.Name, PodCIDR: podCIDR, Via: ViaRefused, Reason: reason}
}

func comparePrefixes(a, b netip.Prefix) int {
	if c := a.Addr().Compare(b.Addr()); c != 0 {
		return c
	}
	return a.Bits() - b.Bits()
}

// addPath writes a decision as routes, neighbours and forwarding entries.
func addPath(s *kernel.State, p path, t tunnels) {
	if !p.routed {
		return
	}
	key := kernel.RouteKey{Dst: p.PodCIDR}
	tun := t[familyOf(p.PodCIDR.Addr())]
	switch p.Via {
	case ViaRefused:
		s.Routes[key] = kernel.Route{Type: kernel.Unreachable}
	case ViaDirect:
		s.Routes[key] = kernel.Route{Type: kernel.Unicast, Link: p.Link, Gateway: p.NextHop}
	case ViaVXLAN:
		mac := vtepMAC(p.NextHop)
		hop, onLink := p.tunnelEnd, true
		if hop.Is6() {
			hop, onLink = linkLocal(mac), false
		}
		s.Routes[key] = kernel.Route{Type: kernel.Unicast, Link: p.Link, Gateway: hop, OnLink: onLink, Src: tun.address}
		s.Neighbours[kernel.NeighbourKey{Link: p.Link, IP: hop}] = mac
		s.FDB[kernel.FDBEntry{Link: p.Link, MAC: mac, Dst: p.NextHop}] = struct{}{}
	case ViaSIT:
		s.Links[p.Link] = tun.linkTo(p.NextHop)
		s.Routes[key] = kernel.Route{Type: kernel.Unicast, Link: p.Link, Src: tun.address}
	case ViaIPIP:
		s.Routes[key] = kernel.Route{Type: kernel.Unicast, Link: p.Link, Gateway: p.NextHop, OnLink: true, Src: tun.address}
	case ViaIP6Tnl:
		outer := kernel.Encap{Src: tun.local, Dst: p.NextHop}
		s.Routes[key] = kernel.Route{Type: kernel.Unicast, Link: p.Link, Encap: outer, Src: tun.address}
	}
}
