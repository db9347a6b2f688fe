package ipam

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

func parseRangeSets(w wishes, sec section, defaults []netip.Prefix) ([]RangeSet, error) {
	sets, err := parseSets(w.IPRanges, "runtimeConfig.ipRanges")
	if err != nil {
		return nil, err
	}
	if sec.rangeSection != (rangeSection{}) {
		var r Range
		if r, err = sec.parse("ipam"); err != nil {
			return nil, err
		}
		sets = append(sets, RangeSet{r})
	}
	listed, err := parseSets(sec.Ranges, "ipam.ranges")
	if err != nil {
		return nil, err
	}
	sets = append(sets, listed...)
	if len(sets) == 0 {
		if sets, err = defaultSets(defaults); err != nil {
			return nil, err
		}
	}
	return sets, checkOverlaps(sets)
}

func defaultSets(defaults []netip.Prefix) ([]RangeSet, error) {
	if len(defaults) == 0 {
		return nil, errorf(ErrNoRange, "network configuration names no range of addresses, and the node's pod CIDRs are not known; set ipam.subnet or ipam.ranges, or start ropewayd")
	}
	var sets []RangeSet
	for _, p := range defaults {
		r, err := newRange(p, netip.Addr{}, netip.Addr{}, netip.Addr{})
		if err != nil {
			return nil, fmt.Errorf("pod CIDR of the node: %w", err)
		}
		sets = append(sets, RangeSet{r})
	}
	return sets, nil
}

func parseSets(raw [][]json.RawMessage, where string) ([]RangeSet, error) {
	var sets []RangeSet
	for i, rawSet := range raw {
		if len(rawSet) == 0 {
			return nil, errorf(ErrConfig, "%s[%d] holds no range; give it one or remove it", where, i)
		}
		var set RangeSet
		for j, rawRange := range rawSet {
			place := fmt.Sprintf("%s[%d][%d]", where, i, j)
			var sec rangeSection
			if err := decodeStrict(rawRange, place, sec.fields()...); err != nil {
				return nil, err
			}
			r, err := sec.parse(place)
			if err != nil {
				return nil, err
			}
			if len(set) > 0 && set[0].Start.Is4() != r.Start.Is4() {
				return nil, errorf(ErrConfig, "%s: %s and %s are of different families; give each family a range set of its own", place, set[0], r)
			}
			set = append(set, r)
		}
		sets = append(sets, set)
	}
	return sets, nil
}

func (s rangeSection) parse(where string) (Range, error) {
	if s.Subnet == "" {
		return Range{}, errorf(ErrConfig, "%s has no subnet; add one, such as 10.1.2.0/24", where)
	}
	subnet, err := netip.ParsePrefix(s.Subnet)
	if err != nil {
		return Range{}, errorf(ErrConfig, "%s: subnet %q is no prefix such as 10.1.2.0/24", where, s.Subnet)
	}
	var addrs [3]netip.Addr
	for i, field := range []struct{ key, value string }{
		{"rangeStart", s.RangeStart}, {"rangeEnd", s.RangeEnd}, {"gateway", s.Gateway},
	} {
		if field.value == "" {
			continue
		}
		if addrs[i], err = parseAddr(field.value); err != nil {
			return Range{}, errorf(ErrConfig, "%s: %s %w", where, field.key, err)
		}
	}
	r, err := newRange(subnet, addrs[0], addrs[1], addrs[2])
	if err != nil {
		return Range{}, fmt.Errorf("%s: %w", where, err)
	}
	return r, nil
}

// checkOverlaps looks within and across sets: an address of two ranges would
// be given by one and missed by the other.
func checkOverlaps(sets []RangeSet) error {
	all := slices.Concat(sets...)
	for i, a := range all {
		for _, b := range all[:i] {
			if a.overlaps(b) {
				return errorf(ErrConfig, "ranges %s and %s overlap; make them disjoint", b, a)
			}
		}
	}
	return nil
}

// requestedAddrs takes the first source that asks for anything: a runtime that
// uses several says the same in each.
func requestedAddrs(w wishes, cniArgs string) ([]netip.Addr, error) {
	source, class, texts := "runtimeConfig.ips", ErrConfig, w.IPs
	if len(texts) == 0 {
		source, texts = "args.cni.ips", w.argsIPs
	}
	if len(texts) == 0 {
		source, class, texts = "CNI_ARGS: IP", ErrEnvironment, argsIP(cniArgs)
	}
	var addrs []netip.Addr
	for _, text := range texts {
		bare, _, _ := strings.Cut(text, "/") // the subnet's length is what counts
		a, err := parseAddr(bare)
		if err != nil {
			return nil, errorf(class, "%s: %w", source, err)
		}
		if !slices.Contains(addrs, a) {
			addrs = append(addrs, a)
		}
	}
	return addrs, nil
}

// argsIP finds IP=a,b in CNI_ARGS, a list K=V;K=V. Other keys are for others.
func argsIP(cniArgs string) []string {
	for pair := range strings.SplitSeq(cniArgs, ";") {
		if value, ok := strings.CutPrefix(pair, "IP="); ok && value != "" {
			return strings.Split(value, ",")
		}
	}
	return nil
}

// parseAddr takes an address without a zone, IPv4 also in IPv6 form.
func parseAddr(s string) (netip.Addr, error) {
	a, err := netip.ParseAddr(strings.TrimSpace(s))
	if err != nil || a.Zone() != "" {
		return netip.Addr{}, fmt.Errorf("%q is no IP address", s)
	}
	return a.Unmap(), nil
}
