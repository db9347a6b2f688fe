package topology

import "net/netip"

// family is an IP family, by the name that people know it by.
type family string

const (
	ipv4 family = "IPv4"
	ipv6 family = "IPv6"
)

func bothFamilies() []family { return []family{ipv4, ipv6} }

func familyOf(a netip.Addr) family {
	if a.Is4() {
		return ipv4
	}
	return ipv6
}

// ofFamily returns the first address of the family.
func ofFamily(addrs []netip.Addr, f family) (netip.Addr, bool) {
	for _, a := range addrs {
		if familyOf(a) == f {
			return a, true
		}
	}
	return netip.Addr{}, false
}

// prefixOfFamily returns the first prefix of the family.
func prefixOfFamily(prefixes []netip.Prefix, f family) (netip.Prefix, bool) {
	for _, p := range prefixes {
		if familyOf(p.Addr()) == f {
			return p, true
		}
	}
	return netip.Prefix{}, false
}

// whole is the prefix that holds one address.
func whole(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }
