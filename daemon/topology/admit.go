package topology

import (
	"fmt"
	"iter"
	"maps"
	"net/netip"
	"slices"

	"github.com/ropeway-net/ropeway/daemon/cluster"
)

// peer is a node and what is wrong with it, if anything.
type peer struct {
	cluster.Node
	podCIDRs []netip.Prefix // those that may be routed
	claimed  []refusal      // those that may not
	refused  string         // reason why no path leads there; "": none
}

// refusal is a pod CIDR that gets no route and why.
type refusal struct {
	podCIDR netip.Prefix
	reason  string
}

// admitPeers sorts out addresses and pod CIDRs that two nodes claim, or that
// the underlay needs. This node comes first, then the peers by name; who
// comes later loses.
func admitPeers(in Input, under underlay) ([]peer, []error) {
	var problems []error
	owners := ownersOf(in)
	claims := newClaims(in)
	for _, own := range in.Self.PodCIDRs {
		claims.add(own, in.Self.Name)
	}
	peers := make([]peer, 0, len(in.Peers))
	for _, node := range in.Peers {
		p := peer{Node: node}
		if reason := owners.objection(node, in.Self); reason != "" {
			p.refused = reason
			problems = append(problems, fmt.Errorf("node %s is not reached: %s; correct one of the two nodes", node.Name, reason))
		}
		for _, cidr := range node.PodCIDRs {
			reason := claims.objection(cidr, owners, under)
			if reason == "" {
				claims.add(cidr, node.Name)
				p.podCIDRs = append(p.podCIDRs, cidr)
				continue
			}
			p.claimed = append(p.claimed, refusal{cidr, reason})
			problems = append(problems, fmt.Errorf("pod CIDR %s of node %s %s; it is not routed until one of them is corrected", cidr, node.Name, reason))
		}
		peers = append(peers, p)
	}
	return peers, problems
}

// owners says whose each underlay address is.
type owners struct {
	byAddress map[netip.Addr]string
	addresses []netip.Addr // sorted
}

func ownersOf(in Input) owners {
	o := owners{byAddress: map[netip.Addr]string{}}
	for _, node := range append([]cluster.Node{in.Self}, in.Peers...) {
		for _, a := range node.Addresses {
			if _, taken := o.byAddress[a]; !taken {
				o.byAddress[a] = node.Name
				o.addresses = append(o.addresses, a)
			}
		}
	}
	slices.SortFunc(o.addresses, netip.Addr.Compare)
	return o
}

// objection returns why a peer's addresses cannot be its own, or "".
func (o owners) objection(node, self cluster.Node) string {
	for _, a := range node.Addresses {
		if first := o.byAddress[a]; first != node.Name {
			return fmt.Sprintf("its address %s belongs to node %s", a, first)
		}
		for _, own := range self.PodCIDRs {
			if own.Contains(a) {
				return fmt.Sprintf("its address %s lies in pod CIDR %s of node %s", a, own, self.Name)
			}
		}
	}
	return ""
}

// within returns a node address that lies in p.
func (o owners) within(p netip.Prefix) (netip.Addr, bool) {
	n, _ := slices.BinarySearchFunc(o.addresses, p.Addr(), netip.Addr.Compare)
	if n < len(o.addresses) && p.Contains(o.addresses[n]) {
		return o.addresses[n], true
	}
	return netip.Addr{}, false
}

// claims are pod CIDRs without overlap and who has them. Of two prefixes that
// overlap one contains the other, so two maps answer for thousands of nodes.
type claims struct {
	lengths []int // prefix lengths that occur, each once, of both families
	// held finds a claim by its prefix, within by any wider prefix of a length
	// that occurs.
	held, within map[netip.Prefix]claim
}

type claim struct {
	podCIDR netip.Prefix
	node    string
}

// newClaims prepares for the pod CIDRs of the nodes.
func newClaims(in Input) claims {
	seen := map[int]bool{}
	for _, node := range append([]cluster.Node{in.Self}, in.Peers...) {
		for _, p := range node.PodCIDRs {
			seen[p.Bits()] = true
		}
	}
	return claims{
		lengths: slices.Collect(maps.Keys(seen)),
		held:    map[netip.Prefix]claim{},
		within:  map[netip.Prefix]claim{},
	}
}

func (c claims) add(p netip.Prefix, node string) {
	c.held[p] = claim{p, node}
	for wider := range c.wider(p) {
		if _, known := c.within[wider]; !known {
			c.within[wider] = claim{p, node}
		}
	}
}

// overlapping returns a claim that shares addresses with p.
func (c claims) overlapping(p netip.Prefix) (claim, bool) {
	if have, ok := c.held[p]; ok {
		return have, true
	}
	if have, ok := c.within[p]; ok {
		return have, true
	}
	for wider := range c.wider(p) {
		if have, ok := c.held[wider]; ok {
			return have, true
		}
	}
	return claim{}, false
}

// wider yields the prefixes around p that may be claimed.
func (c claims) wider(p netip.Prefix) iter.Seq[netip.Prefix] {
	return func(yield func(netip.Prefix) bool) {
		for _, bits := range c.lengths {
			if bits >= p.Bits() {
				continue
			}
			if wider, err := p.Addr().Prefix(bits); err == nil && !yield(wider) {
				return
			}
		}
	}
}

// objection returns why a pod CIDR of a peer cannot be routed, or "".
func (c claims) objection(p netip.Prefix, owners owners, under underlay) string {
	if _, ok := TunnelAddress(p); !ok {
		return "is too small, use /30 (IPv4), /126 (IPv6) or larger"
	}
	if other, ok := c.overlapping(p); ok {
		return fmt.Sprintf("overlaps pod CIDR %s of node %s", other.podCIDR, other.node)
	}
	if a, ok := owners.within(p); ok {
		return fmt.Sprintf("contains address %s of node %s", a, owners.byAddress[a])
	}
	if iface, prefix, ok := under.overlapping(p); ok {
		return fmt.Sprintf("overlaps %s on interface %s", prefix, iface)
	}
	return ""
}
