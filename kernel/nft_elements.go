package kernel

import (
	"bytes"
	"net/netip"
	"slices"

	"github.com/google/nftables"
)

// setElement is an element as the kernel holds it. An interval is two of
// them: its first address, and the address behind its last one, marked as end.
type setElement struct {
	addr netip.Addr
	end  bool
}

// encodeElements returns the kernel's elements for prefixes of a set, or for
// pairs of an address with itself. A prefix that ends with the family's last
// address has no end.
func encodeElements(set *nftables.Set, prefixes []netip.Prefix, typ SetType) []nftables.SetElement {
	elements := make([]nftables.SetElement, 0, 2*len(prefixes))
	for _, p := range prefixes {
		key := p.Addr().AsSlice()
		if typ.isPair() {
			key = append(key, key...)
		}
		elements = append(elements, nftables.SetElement{Key: key})
		if behind := lastAddr(p).Next(); set.Interval && behind.IsValid() {
			elements = append(elements, nftables.SetElement{Key: behind.AsSlice(), IntervalEnd: true})
		}
	}
	return elements
}

// addresses reads the keys of a set's elements. One that is no address, or no
// pair of one with itself, becomes the zero address.
func addresses(elements []listedElement, typ SetType) []setElement {
	read := make([]setElement, len(elements))
	for i, e := range elements {
		key := e.key
		if n := len(key) / 2; typ.isPair() && bytes.Equal(key[:n], key[n:]) {
			key = key[:n]
		} else if typ.isPair() {
			key = nil
		}
		read[i].addr, _ = netip.AddrFromSlice(key)
		read[i].end = e.end
	}
	return read
}

// decodeElements is the reverse, for elements in any order. It says false
// when they are not prefixes, or not of one family of typ.
func decodeElements(elements []setElement, typ SetType, interval bool) (map[netip.Prefix]struct{}, bool) {
	slices.SortFunc(elements, func(a, b setElement) int {
		if c := a.addr.Compare(b.addr); c != 0 || a.end == b.end {
			return c
		}
		if a.end {
			return -1 // one interval ends where the next begins
		}
		return 1
	})
	prefixes := make(map[netip.Prefix]struct{}, len(elements))
	var first netip.Addr // of the interval that is open
	complete := func(last netip.Addr) bool {
		p, ok := spanning(first, last)
		prefixes[p] = struct{}{}
		first = netip.Addr{}
		return ok
	}
	for _, e := range elements {
		switch {
		case !e.addr.IsValid(), e.addr.Is4() != (typ.family() == IPv4Addr), first.IsValid() && !e.end, e.end && !interval:
			return nil, false
		case e.end && !first.IsValid():
			// nft begins a set that does not hold the first address of the
			// family with an end there.
		case e.end:
			if !complete(e.addr.Prev()) {
				return nil, false
			}
		case interval:
			first = e.addr
		default:
			prefixes[netip.PrefixFrom(e.addr, e.addr.BitLen())] = struct{}{}
		}
	}
	if first.IsValid() && !complete(lastAddr(netip.PrefixFrom(first, 0))) {
		return nil, false
	}
	return prefixes, true
}

// lastAddr returns the last address of a prefix.
func lastAddr(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for bit := p.Bits(); bit < len(b)*8; bit++ {
		b[bit/8] |= 1 << (7 - bit%8)
	}
	last, _ := netip.AddrFromSlice(b)
	return last
}

// spanning returns the prefix that is exactly first to last, if there is one.
func spanning(first, last netip.Addr) (netip.Prefix, bool) {
	for bits := first.BitLen(); bits >= 0; bits-- {
		p := netip.PrefixFrom(first, bits)
		if p.Masked() != p {
			break
		}
		if lastAddr(p) == last {
			return p, true
		}
	}
	return netip.Prefix{}, false
}
