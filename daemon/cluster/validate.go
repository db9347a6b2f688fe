package cluster

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
)

// nodeName is a DNS-1123 subdomain, as Kubernetes names nodes.
var nodeName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`)

// Validate checks every node by itself and that no two of them claim the same
// name, address or part of a pod CIDR. It names the nodes and what to do.
func Validate(nodes []Node) error {
	var errs []error
	names := map[string]struct{}{}
	owners := map[netip.Addr]string{}
	for _, n := range nodes {
		if err := n.validate(); err != nil {
			errs = append(errs, fmt.Errorf("node %q: %w", n.Name, err))
		}
		if _, twice := names[n.Name]; twice {
			errs = append(errs, fmt.Errorf("node %q is listed twice; remove one of them", n.Name))
			continue // its addresses and CIDRs would only repeat the complaint
		}
		names[n.Name] = struct{}{}
		for _, a := range n.Addresses {
			if other, taken := owners[a]; taken && other != n.Name {
				errs = append(errs, fmt.Errorf("nodes %q and %q both have address %s; correct one of them", other, n.Name, a))
				continue
			}
			owners[a] = n.Name
		}
	}
	errs = append(errs, overlaps(nodes)...)
	return firstOf(errs)
}

// validate checks one node by itself.
func (n Node) validate() error {
	if err := validateName(n.Name); err != nil {
		return err
	}
	if len(n.Addresses) == 0 && len(n.Problems) == 0 {
		return errors.New("addresses is missing; give the address by which other nodes reach it")
	}
	if len(n.PodCIDRs) == 0 && len(n.Problems) == 0 {
		return errors.New("podCIDRs is missing; give one prefix of each family that its pods shall have")
	}
	seen := map[bool]netip.Addr{}
	for _, a := range n.Addresses {
		if err := validateAddress(a); err != nil {
			return err
		}
		if other, twice := seen[a.Is4()]; twice {
			return fmt.Errorf("addresses %s and %s are of the same family; keep the one that other nodes shall use", other, a)
		}
		seen[a.Is4()] = a
	}
	return validatePodCIDRs(n.PodCIDRs)
}

func validateName(name string) error {
	if len(name) > 253 || !nodeName.MatchString(name) {
		return errors.New("the name must consist of lower case letters, digits, '-' and '.', begin and end with a letter or digit, and have at most 253 characters")
	}
	return nil
}

func validateAddress(a netip.Addr) error {
	remedy := "use an address of the node on the network that connects the nodes"
	switch {
	case a.Is4In6():
		return fmt.Errorf("address %s is IPv4 in IPv6 form; write %s", a, a.Unmap())
	case a.Zone() != "" || a.IsLinkLocalUnicast():
		return fmt.Errorf("address %s is link-local; %s", a, remedy)
	case !a.IsValid() || a.IsUnspecified():
		return fmt.Errorf("address %s is no host's; %s", a, remedy)
	case a.IsLoopback():
		return fmt.Errorf("address %s is a loopback address; %s", a, remedy)
	case a.IsMulticast() || a == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return fmt.Errorf("address %s is a multicast or broadcast address; %s", a, remedy)
	}
	return nil
}

// reserved lists prefixes that no pod can have addresses from.
func reserved() []netip.Prefix {
	return []netip.Prefix{
		netip.MustParsePrefix("0.0.0.0/8"),
		netip.MustParsePrefix("127.0.0.0/8"),
		netip.MustParsePrefix("169.254.0.0/16"),
		netip.MustParsePrefix("224.0.0.0/3"),
		netip.MustParsePrefix("::/96"),
		netip.MustParsePrefix("fe80::/10"),
		netip.MustParsePrefix("ff00::/8"),
	}
}

func validatePodCIDRs(podCIDRs []netip.Prefix) error {
	seen := map[bool]netip.Prefix{}
	for _, p := range podCIDRs {
		if err := validatePodCIDR(p); err != nil {
			return err
		}
		if other, twice := seen[p.Addr().Is4()]; twice {
			return fmt.Errorf("pod CIDRs %s and %s are of the same family; keep one", other, p)
		}
		seen[p.Addr().Is4()] = p
	}
	return nil
}

func validatePodCIDR(p netip.Prefix) error {
	switch {
	case !p.IsValid():
		return fmt.Errorf("pod CIDR %s is not valid", p)
	case p.Addr().Is4In6():
		return fmt.Errorf("pod CIDR %s is IPv4 in IPv6 form; write it as an IPv4 prefix", p)
	case p != p.Masked():
		return fmt.Errorf("pod CIDR %s has host bits set; write %s", p, p.Masked())
	case p.Bits() > p.Addr().BitLen()-2:
		return fmt.Errorf("pod CIDR %s has no room for pods; use /30 (IPv4), /126 (IPv6) or larger", p)
	}
	for _, r := range reserved() {
		if p.Overlaps(r) {
			return fmt.Errorf("pod CIDR %s overlaps %s, which is reserved; choose a private prefix such as 10.244.1.0/24 or fd10:244:0:1::/64", p, r)
		}
	}
	return nil
}

// overlaps finds pod CIDRs that share addresses. Sorted by first address, a
// prefix overlaps an earlier one only if that one contains it.
func overlaps(nodes []Node) []error {
	type claim struct {
		podCIDR netip.Prefix
		node    string
	}
	var claims []claim
	for _, n := range nodes {
		for _, p := range n.PodCIDRs {
			if p.IsValid() {
				claims = append(claims, claim{p, n.Name})
			}
		}
	}
	slices.SortStableFunc(claims, func(a, b claim) int {
		if c := a.podCIDR.Addr().Compare(b.podCIDR.Addr()); c != 0 {
			return c
		}
		return a.podCIDR.Bits() - b.podCIDR.Bits()
	})
	var errs []error
	var widest claim
	for _, c := range claims {
		if !widest.podCIDR.IsValid() || !widest.podCIDR.Overlaps(c.podCIDR) {
			widest = c
			continue
		}
		if widest.node != c.node {
			errs = append(errs, fmt.Errorf("pod CIDR %s of node %q overlaps %s of node %q; give every node its own", c.podCIDR, c.node, widest.podCIDR, widest.node))
		}
	}
	return errs
}
