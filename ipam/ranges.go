package ipam

import (
	"fmt"
	"iter"
	"math"
	"math/bits"
	"net/netip"
	"strings"
)

// Range is a run of addresses of one subnet, both ends included. Neither the
// network address nor an IPv4 broadcast address is in it.
type Range struct {
	Subnet     netip.Prefix // masked
	Start, End netip.Addr
	// Gateway is told to the pod and never given to one. It may lie outside
	// of the range, and of the subnet.
	Gateway netip.Addr
}

// RangeSet is a pool of ranges of one family, out of which an attachment gets
// one address.
type RangeSet []Range

// newRange completes and checks a range; zero addresses stand for defaults.
func newRange(subnet netip.Prefix, start, end, gateway netip.Addr) (Range, error) {
	if err := checkSubnet(subnet); err != nil {
		return Range{}, err
	}
	first, last := subnet.Addr().Next(), lastAddr(subnet)
	if subnet.Addr().Is4() {
		last = last.Prev() // broadcast
	}
	r := Range{Subnet: subnet, Start: first, End: last, Gateway: first}
	if gateway.IsValid() {
		if gateway.Is4() != subnet.Addr().Is4() {
			return Range{}, errorf(ErrConfig, "gateway %s and subnet %s are of different families", gateway, subnet)
		}
		r.Gateway = gateway
	}
	for _, bound := range []struct {
		key  string
		addr netip.Addr
	}{{"rangeStart", start}, {"rangeEnd", end}} {
		if bound.addr.IsValid() && !subnet.Contains(bound.addr) {
			return Range{}, errorf(ErrConfig, "%s %s is not inside subnet %s", bound.key, bound.addr, subnet)
		}
	}
	if start.IsValid() && end.IsValid() && end.Less(start) {
		return Range{}, errorf(ErrConfig, "rangeStart %s comes after rangeEnd %s; exchange them", start, end)
	}
	if start.IsValid() && first.Less(start) {
		r.Start = start
	}
	if end.IsValid() && end.Less(last) {
		r.End = end
	}
	if r.End.Less(r.Start) || r.size() == 1 && r.Contains(r.Gateway) {
		return Range{}, errorf(ErrConfig, "range %s has no address for a pod beside network, broadcast and gateway; widen it", r)
	}
	return r, nil
}

func checkSubnet(subnet netip.Prefix) error {
	addr := subnet.Addr()
	switch {
	case addr.Is4In6():
		return errorf(ErrConfig, "subnet %s is an IPv4 prefix in IPv6 form; write it as IPv4", subnet)
	case subnet != subnet.Masked():
		return errorf(ErrConfig, "subnet %s has host bits set; write %s", subnet, subnet.Masked())
	case subnet.Bits() > addr.BitLen()-2:
		return errorf(ErrConfig, "subnet %s is too small to hold a gateway and a pod; use a prefix of /%d or shorter", subnet, addr.BitLen()-2)
	case addr.IsMulticast(), addr.IsLoopback(), addr.IsUnspecified():
		return errorf(ErrConfig, "subnet %s holds no addresses that a pod may have; use a private range", subnet)
	}
	return nil
}

func lastAddr(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 1 << (7 - i%8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// Contains tells whether a lies between the ends of the range. A gateway may.
func (r Range) Contains(a netip.Addr) bool {
	return a.BitLen() == r.Start.BitLen() && !a.Less(r.Start) && !r.End.Less(a)
}

func (r Range) overlaps(o Range) bool {
	return r.Contains(o.Start) || o.Contains(r.Start)
}

// size counts the addresses from Start to End, at most MaxUint64.
func (r Range) size() uint64 {
	startHigh, startLow := halves(r.Start)
	endHigh, endLow := halves(r.End)
	low, borrow := bits.Sub64(endLow, startLow, 0)
	high, _ := bits.Sub64(endHigh, startHigh, borrow)
	if high != 0 || low == math.MaxUint64 {
		return math.MaxUint64
	}
	return low + 1
}

func halves(a netip.Addr) (high, low uint64) {
	b := a.As16()
	for i := range 8 {
		high = high<<8 | uint64(b[i])
		low = low<<8 | uint64(b[i+8])
	}
	return high, low
}

// String is the subnet, with the ends where they are not the subnet's own.
func (r Range) String() string {
	whole, err := newRange(r.Subnet, netip.Addr{}, netip.Addr{}, netip.Addr{})
	if err == nil && r.Start == whole.Start && r.End == whole.End {
		return r.Subnet.String()
	}
	return fmt.Sprintf("%s-%s of %s", r.Start, r.End, r.Subnet)
}

// Range returns the range that holds a.
func (s RangeSet) Range(a netip.Addr) (Range, bool) {
	for _, r := range s {
		if r.Contains(a) {
			return r, true
		}
	}
	return Range{}, false
}

// String names the ranges of the set.
func (s RangeSet) String() string {
	names := make([]string, len(s))
	for i, r := range s {
		names[i] = r.String()
	}
	return strings.Join(names, ", ")
}

// after yields every address of the set once, with its range, beginning behind
// last and ending with it. Where last is in no range it begins at the front.
func (s RangeSet) after(last netip.Addr) iter.Seq2[netip.Addr, Range] {
	return func(yield func(netip.Addr, Range) bool) {
		at := 0
		for i, r := range s {
			if r.Contains(last) {
				at = i
			}
		}
		var rest Range // the part of the first range that comes last
		for i := range s {
			r := s[(at+i)%len(s)]
			walk := r
			if r.Contains(last) {
				walk.Start = last.Next()
				rest = r
				rest.End = last
			}
			if !walk.each(r, yield) {
				return
			}
		}
		if rest.Start.IsValid() {
			rest.each(s[at], yield)
		}
	}
}

// each yields the addresses of r, which is a part of whole, until yield is
// false, which it returns.
func (r Range) each(whole Range, yield func(netip.Addr, Range) bool) bool {
	for a := r.Start; a.IsValid() && !r.End.Less(a); a = a.Next() {
		if !yield(a, whole) {
			return false
		}
	}
	return true
}
