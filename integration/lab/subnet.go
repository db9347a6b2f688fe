package lab

import (
	"fmt"
	"net/netip"
)

// subnet is one layer-2 segment of the underlay with the router on it.
type subnet struct {
	bridge  string // in the router's namespace
	gateway []netip.Prefix
}

// segment returns subnet 1 or 2.
func (o Options) segment(number int) subnet {
	return subnet{
		bridge:  fmt.Sprintf("br%d", number),
		gateway: o.underlayAddresses(number, 1),
	}
}

// underlayAddresses are the addresses, with prefix lengths, of a host on
// subnet 1 or 2, the primary one first.
func (o Options) underlayAddresses(subnet, host int) []netip.Prefix {
	v4 := netip.PrefixFrom(netip.AddrFrom4([4]byte{172, 31, byte(subnet), byte(host)}), 24)
	v6 := netip.MustParsePrefix(fmt.Sprintf("fd31:0:0:%d::%d/64", subnet, host))
	switch o.Underlay {
	case IPv4:
		return []netip.Prefix{v4}
	case IPv6:
		return []netip.Prefix{v6}
	case DualIPv6:
		return []netip.Prefix{v6, v4}
	}
	return []netip.Prefix{v4, v6}
}

// worldAddresses are those of a host on the link between router and world.
// They are from the ranges kept for documentation, so nobody has a route there.
func worldAddresses(host int) []netip.Prefix {
	return []netip.Prefix{
		netip.MustParsePrefix(fmt.Sprintf("203.0.113.%d/24", host)),
		netip.MustParsePrefix(fmt.Sprintf("2001:db8:113::%d/64", host)),
	}
}

// podCIDRs are those of the node with a number from 1.
func (o Options) podCIDRs(number int) []netip.Prefix {
	var cidrs []netip.Prefix
	if o.Pods.has4() {
		cidrs = append(cidrs, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 244, byte(number), 0}), 24))
	}
	if o.Pods.has6() {
		cidrs = append(cidrs, netip.MustParsePrefix(fmt.Sprintf("fd00:10:244:%d::/64", number)))
	}
	return cidrs
}

// addresses drops the prefix lengths.
func addresses(prefixes []netip.Prefix) []netip.Addr {
	addrs := make([]netip.Addr, len(prefixes))
	for i, p := range prefixes {
		addrs[i] = p.Addr()
	}
	return addrs
}

// FamilyOf names the family of an address, IPv4 or IPv6.
func FamilyOf(a netip.Addr) Families {
	if a.Is4() {
		return IPv4
	}
	return IPv6
}

// defaultDestination is the prefix of a default route of gateway's family.
func defaultDestination(gateway netip.Addr) netip.Prefix {
	if gateway.Is4() {
		return netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	}
	return netip.PrefixFrom(netip.IPv6Unspecified(), 0)
}
