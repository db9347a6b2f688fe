package cluster

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// Claim is a node as it describes itself. Whether its addresses and pod CIDRs
// are its own shows only beside the other claims: see [Settle].
type Claim struct {
	Node
	Since time.Time // of the node's creation; of two claims the older one holds
}

// Describe makes a claim of texts that nobody has checked. What is wrong is
// left out and named in Problems. Of several addresses of one family the first
// counts: a machine may well have more of them.
func Describe(name string, since time.Time, addresses, podCIDRs []string) Claim {
	c := Claim{Node: Node{Name: name}, Since: since}
	object := func(err error) { c.Problems = append(c.Problems, err.Error()) }
	if err := validateName(name); err != nil {
		object(err)
	}
	for _, text := range addresses {
		a, err := parseAddress(text)
		if err == nil {
			err = validateAddress(a)
		}
		if err != nil {
			object(err)
			continue
		}
		if !slices.ContainsFunc(c.Addresses, func(have netip.Addr) bool { return have.Is4() == a.Is4() }) {
			c.Addresses = append(c.Addresses, a)
		}
	}
	for _, text := range podCIDRs {
		p, err := parsePodCIDR(text)
		if err == nil {
			err = validatePodCIDRs(append(slices.Clone(c.PodCIDRs), p))
		}
		if err != nil {
			object(err)
			continue
		}
		c.PodCIDRs = append(c.PodCIDRs, p)
	}
	return c
}

// Conflict says that two nodes claim the same, which stays with the older one.
type Conflict struct {
	Holder, Loser string // names of nodes
	Text          string // names both, the claims and the remedy
}

// Settle gives each address and each pod CIDR to the node that has claimed it
// first, by Since and then by name, and takes it from the others, whose
// Problems tell. Every node that sees the same claims decides the same. The
// result is sorted by name and valid; the claims are not changed. Of two
// claims of one name, the older one is kept.
func Settle(claims []Claim) ([]Node, []Conflict) {
	claims = slices.Clone(claims)
	slices.SortStableFunc(claims, func(a, b Claim) int {
		return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(a.Name, b.Name))
	})
	names := make(map[string]struct{}, len(claims))
	owners := make(map[netip.Addr]string, len(claims))
	var taken holdings
	var conflicts []Conflict
	nodes := make([]Node, 0, len(claims))
	for _, c := range claims {
		if _, twice := names[c.Name]; twice || validateName(c.Name) != nil {
			continue
		}
		names[c.Name] = struct{}{}
		n := c.Node
		lose := func(holder, text string) {
			conflicts = append(conflicts, Conflict{Holder: holder, Loser: n.Name, Text: text})
			n.Problems = append(slices.Clip(n.Problems), text)
		}
		n.Addresses = keep(n.Addresses, func(a netip.Addr) bool {
			holder, claimed := owners[a]
			if claimed {
				lose(holder, fmt.Sprintf("address %s of node %s is that of node %s, which is older and keeps it; delete the node that is gone, or correct one of the two", a, n.Name, holder))
				return false
			}
			owners[a] = n.Name
			return true
		})
		n.PodCIDRs = keep(n.PodCIDRs, func(p netip.Prefix) bool {
			other, overlaps := taken.take(p, n.Name)
			if overlaps {
				lose(other.node, fmt.Sprintf("pod CIDR %s of node %s overlaps %s of node %s, which is older and keeps it; delete node %s and let it join again", p, n.Name, other.podCIDR, other.node, n.Name))
			}
			return !overlaps
		})
		nodes = append(nodes, n)
	}
	slices.SortFunc(nodes, func(a, b Node) int { return cmp.Compare(a.Name, b.Name) })
	return nodes, conflicts
}

// keep returns what passes, in the slice itself if that is all of it.
func keep[T any](all []T, passes func(T) bool) []T {
	for n, v := range all {
		if passes(v) {
			continue
		}
		kept := slices.Clone(all[:n])
		for _, v := range all[n+1:] {
			if passes(v) {
				kept = append(kept, v)
			}
		}
		return kept
	}
	return all
}

// holding is a pod CIDR and whose it is.
type holding struct {
	podCIDR netip.Prefix
	node    string
}

// holdings are pod CIDRs without overlap, sorted by address: a prefix overlaps
// one of them only if it overlaps a neighbour of its place.
type holdings struct {
	sorted []holding
}

// take adds a pod CIDR unless it overlaps another one, which is returned.
func (h *holdings) take(p netip.Prefix, node string) (holding, bool) {
	at, _ := slices.BinarySearchFunc(h.sorted, p.Addr(), func(have holding, a netip.Addr) int {
		return have.podCIDR.Addr().Compare(a)
	})
	for _, n := range []int{at - 1, at} {
		if n >= 0 && n < len(h.sorted) && h.sorted[n].podCIDR.Overlaps(p) {
			return h.sorted[n], true
		}
	}
	h.sorted = slices.Insert(h.sorted, at, holding{p, node})
	return holding{}, false
}

// Equal says whether two lists hold the same nodes in the same order.
func Equal(a, b []Node) bool {
	return slices.EqualFunc(a, b, func(x, y Node) bool {
		return x.Name == y.Name && slices.Equal(x.Addresses, y.Addresses) &&
			slices.Equal(x.PodCIDRs, y.PodCIDRs) && slices.Equal(x.Problems, y.Problems)
	})
}
