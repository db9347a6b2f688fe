package kernel

import (
	"math/rand/v2"
	"net/netip"
)

func prefixes(texts ...string) []netip.Prefix {
	var all []netip.Prefix
	for _, t := range texts {
		all = append(all, netip.MustParsePrefix(t))
	}
	return all
}

func elementsOf(texts ...string) map[netip.Prefix]struct{} {
	set := map[netip.Prefix]struct{}{}
	for _, p := range prefixes(texts...) {
		set[p] = struct{}{}
	}
	return set
}

func rule(comment string, statements ...Statement) Rule { return Rule{comment, statements} }

// sampleTables are what Ropeway makes, and more.
func sampleTables() map[string]*Table {
	in := func(f Field, set string, typ SetType) InSet { return InSet{Field: f, Set: set, Type: typ} }
	notIn := func(f Field, set string, typ SetType) InSet { return InSet{f, set, typ, true} }
	local, port := LocalDestination{}, UDPDestinationPort{4789}
	return map[string]*Table{
		"empty": {},
		"vxlan dual stack": {
			Sets: map[string]Set{
				"local-pods4":   {IPv4Addr, true, elementsOf("10.244.1.0/24")},
				"local-pods6":   {IPv6Addr, true, elementsOf("fd00:244:0:1::/64")},
				"pods4":         {IPv4Addr, true, elementsOf("10.244.1.0/24", "10.244.2.0/24")},
				"pods6":         {IPv6Addr, true, elementsOf("fd00:244:0:1::/64", "fd00:244:0:2::/64")},
				"direct-nodes4": {IPv4Addr, false, nil},
				"nodes4":        {IPv4Addr, false, elementsOf("172.31.1.11/32", "172.31.1.12/32")},
			},
			Chains: map[string]Chain{
				"prerouting-raw": {Type: FilterChain, Hook: Prerouting, Priority: -300, Rules: []Rule{
					rule("pods send from their own address only", FromPodLink{}, IPv4Packet{}, NoReturnPath{}, Counter{}, Drop{}),
					rule("", FromPodLink{}, SpecifiedIPv6Source{}, NoReturnPath{}, Counter{}, Drop{}),
					rule("tunnel packets come from nodes only", port, local, notIn(Saddr, "nodes4", IPv4Addr), Counter{}, Drop{}),
					rule("", port, local, Notrack{}),
				}},
				"output-raw": {Type: FilterChain, Hook: Output, Priority: -300, Rules: []Rule{
					rule("", port, in(Daddr, "nodes4", IPv4Addr), Notrack{}),
				}},
				"postrouting-nat": {Type: NATChain, Hook: Postrouting, Priority: 100, Rules: []Rule{
					rule("", in(Saddr, "local-pods4", IPv4Addr), notIn(Daddr, "pods4", IPv4Addr),
						notIn(Daddr, "direct-nodes4", IPv4Addr), MasqueradeRandom{}),
					rule("", in(Saddr, "local-pods6", IPv6Addr), notIn(Daddr, "pods6", IPv6Addr), MasqueradeRandom{}),
				}},
			},
		},
		"edges of the address space": {Sets: map[string]Set{
			"adjacent": {IPv4Addr, true, elementsOf("0.0.0.0/8", "1.0.0.0/8", "10.244.1.0/24", "10.244.2.0/24", "10.244.3.7/32",
				"255.255.254.0/24", "255.255.255.0/25", "255.255.255.128/25")},
			"adjacent6": {IPv6Addr, true, elementsOf("::/16", "fd00::/64", "fd00:0:0:1::/64", "fd00:0:0:2::1/128", "ffff::/16")},
			"all4":      {IPv4Addr, true, elementsOf("0.0.0.0/0")},
			"all6":      {IPv6Addr, true, elementsOf("::/0")},
			"last":      {IPv4Addr, true, elementsOf("255.255.255.255/32")},
			"single4":   {IPv4Addr, false, elementsOf("0.0.0.0/32", "255.255.255.255/32", "10.0.0.1/32")},
			"single6":   {IPv6Addr, false, elementsOf("::/128", "fd00::1/128", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128")},
		}},
		"every statement": {
			Sets: map[string]Set{"s4": {IPv4Addr, true, nil}, "s6": {IPv6Addr, false, nil}},
			Chains: map[string]Chain{
				"raw": {Type: FilterChain, Hook: Prerouting, Priority: -300, Rules: []Rule{
					rule("IP in IP", L4Proto{4}, local, notIn(Saddr, "s4", IPv4Addr), Counter{}, Drop{}),
					rule("", L4Proto{41}, local, Notrack{}),
					rule("", L4Proto{17}, Counter{}, port, Drop{}),
					rule("", L4Proto{6}, Accept{}),
					rule("", IPv4Packet{}),
					rule("", IPv4Packet{}, Counter{}, in(Saddr, "s4", IPv4Addr), in(Daddr, "s4", IPv4Addr), Accept{}),
					rule("", port, in(Saddr, "s6", IPv6Addr), notIn(Daddr, "s6", IPv6Addr), FromPodLink{}, Accept{}),
					rule("", SpecifiedIPv6Source{}, in(Daddr, "s6", IPv6Addr), UDPDestinationPort{1}, Drop{}),
					rule("", NoReturnPath{}, local, Counter{}),
				}},
				"nat": {Type: NATChain, Hook: Postrouting, Priority: 100, Rules: []Rule{
					rule("", in(Saddr, "s6", IPv6Addr), MasqueradeRandom{}),
				}},
				"forward": {Type: FilterChain, Hook: Forward, Policy: PolicyDrop},
			},
		},
		"host ports": withHostPorts(&Table{}),
	}
}

// randomTable draws from few names and values, so that two tables overlap.
func randomTable(rng *rand.Rand) *Table {
	t := &Table{Sets: map[string]Set{}, Maps: map[string]Map{}, Chains: map[string]Chain{}}
	for _, name := range []string{"a", "b", "c"} {
		if rng.IntN(4) > 0 {
			t.Sets[name] = randomSet(rng)
		}
	}
	for _, name := range []string{"c", "d", "e"} {
		if _, isSet := t.Sets[name]; !isSet && rng.IntN(3) > 0 {
			t.Maps[name] = randomMap(rng)
		}
	}
	for _, name := range []string{"x", "y"} {
		if rng.IntN(4) == 0 {
			continue
		}
		c := Chain{Type: FilterChain, Hook: Prerouting, Priority: -300 + rng.IntN(2)}
		switch rng.IntN(4) {
		case 0:
			c = Chain{Type: NATChain, Hook: Postrouting, Priority: 100}
		case 1:
			c = Chain{Type: NATChain, Hook: Prerouting, Priority: -90}
		}
		if rng.IntN(4) == 0 {
			c.Policy = PolicyDrop
		}
		for range rng.IntN(4) {
			c.Rules = append(c.Rules, randomRule(rng, c, t))
		}
		t.Chains[name] = c
	}
	return t
}

func randomSet(rng *rand.Rand) Set {
	s := Set{Type: IPv4Addr, Interval: rng.IntN(3) > 0, Elements: map[netip.Prefix]struct{}{}}
	edge := []byte{0, 10, 255}[rng.IntN(3)]
	if rng.IntN(3) == 0 {
		s.Type = IPv6Addr
	}
	if rng.IntN(5) == 0 {
		s.Type, s.Interval = map[SetType]SetType{IPv4Addr: IPv4Pair, IPv6Addr: IPv6Pair}[s.Type], false
	}
	for range rng.IntN(30) {
		b := make([]byte, 4)
		if s.Type.family() == IPv6Addr {
			b = make([]byte, 16)
		}
		for i := range b {
			b[i] = edge
		}
		// The bits around one nibble make neighbours likely.
		b[len(b)-2] = edge&0xf0 | byte(rng.IntN(16))
		addr, _ := netip.AddrFromSlice(b)
		bits := addr.BitLen()
		if s.Interval {
			bits -= rng.IntN(14)
		}
		p := netip.PrefixFrom(addr, bits).Masked()
		if checkElements(sortedPrefixes(merged(s.Elements, p)), s.Interval) == nil {
			s.Elements[p] = struct{}{}
		}
	}
	return s
}

func merged(set map[netip.Prefix]struct{}, more netip.Prefix) map[netip.Prefix]struct{} {
	all := map[netip.Prefix]struct{}{more: {}}
	for p := range set {
		all[p] = struct{}{}
	}
	return all
}

func randomRule(rng *rand.Rand, c Chain, t *Table) Rule {
	r := Rule{Comment: []string{"", "one", "it's two; $HOME"}[rng.IntN(3)]}
	for name, s := range t.Sets {
		if rng.IntN(2) == 0 && s.Type.isPair() {
			r.Statements = append(r.Statements, ToItself{name, s.Type})
			break
		}
		if rng.IntN(2) == 0 && !s.Type.isPair() {
			r.Statements = append(r.Statements, InSet{[]Field{Saddr, Daddr}[rng.IntN(2)], name, s.Type, rng.IntN(2) == 0})
			break
		}
	}
	for name, m := range t.Maps {
		if c.Hook == Prerouting && c.Type == NATChain && len(r.Statements) == 0 && rng.IntN(2) == 0 {
			r.Statements = append(r.Statements, LocalDestination{}, DNAT{name, m.Type})
			return r
		}
	}
	switch {
	case c.Type == NATChain && c.Hook == Prerouting:
		if len(r.Statements) == 0 {
			r.Statements = append(r.Statements, ToLoopback{})
		}
		r.Statements = append(r.Statements, Accept{})
	case c.Type == NATChain:
		r.Statements = append(r.Statements, MasqueradeRandom{})
	case rng.IntN(2) == 0:
		r.Statements = append(r.Statements, FromPodLink{}, NoReturnPath{}, Counter{}, Drop{})
	default:
		r.Statements = append(r.Statements, UDPDestinationPort{uint16(rng.IntN(3))}, Notrack{})
	}
	return r
}
