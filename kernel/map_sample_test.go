package kernel

import (
	"math/rand/v2"
	"net/netip"
)

func mapTypes() []MapType { return []MapType{PortMap4, PortMap6, AddrPortMap4, AddrPortMap6} }

func portKey(addr string, p Protocol, port uint16) PortKey {
	k := PortKey{Protocol: p, Port: port}
	if addr != "" {
		k.Addr = netip.MustParseAddr(addr)
	}
	return k
}

// addPort is a command that adds one element.
func addPort(name string, typ MapType, addr string, p Protocol, port uint16, to string) nftAddMapElements {
	k := portKey(addr, p, port)
	return nftAddMapElements{name, typ, []PortKey{k}, map[PortKey]netip.AddrPort{k: netip.MustParseAddrPort(to)}}
}

// withHostPorts adds to a table maps, sets of pairs and the rules that use
// them, in every spelling.
func withHostPorts(t *Table) *Table {
	c := t.clone()
	to := netip.MustParseAddrPort
	c.Maps["host-ports4"] = Map{PortMap4, map[PortKey]netip.AddrPort{
		portKey("", TCP, 80): to("10.244.1.5:8080"), portKey("", UDP, 80): to("10.244.1.6:53"),
		portKey("", SCTP, 65535): to("10.244.1.5:1"), portKey("", 47, 1): to("255.255.255.255:65535"),
	}}
	c.Maps["host-ports6"] = Map{PortMap6, map[PortKey]netip.AddrPort{portKey("", TCP, 80): to("[fd00:244:0:1::5]:8080")}}
	c.Maps["host-ports-on4"] = Map{AddrPortMap4, map[PortKey]netip.AddrPort{
		portKey("127.0.0.1", TCP, 80): to("10.244.1.7:80"), portKey("172.31.1.11", UDP, 53): to("10.244.1.7:53"),
	}}
	c.Maps["host-ports-on6"] = Map{AddrPortMap6, map[PortKey]netip.AddrPort{portKey("fd00::11", SCTP, 9): to("[fd00:244:0:1::7]:9")}}
	c.Maps["none"] = Map{AddrPortMap6, nil}
	c.Sets["hairpin4"] = Set{IPv4Pair, false, elementsOf("10.244.1.5/32", "10.244.1.7/32")}
	c.Sets["hairpin6"] = Set{IPv6Pair, false, elementsOf("fd00:244:0:1::5/128")}
	c.Sets["other4"] = Set{IPv4Addr, false, elementsOf("10.96.0.1/32")}
	local := LocalDestination{}
	rules := []Rule{
		rule("on an address", local, InSet{Daddr, "other4", IPv4Addr, true}, DNAT{"host-ports-on4", AddrPortMap4}),
		rule("", local, InSet{Daddr, "other4", IPv4Addr, true}, DNAT{"host-ports4", PortMap4}),
		rule("", local, DNAT{"host-ports-on6", AddrPortMap6}),
		rule("", DNAT{"host-ports6", PortMap6}),
		rule("", DNAT{"none", AddrPortMap6}),
	}
	c.Chains["host-ports"] = Chain{Type: NATChain, Hook: Prerouting, Priority: -90, Rules: rules}
	c.Chains["host-ports-output"] = Chain{Type: NATChain, Hook: Output, Priority: -90, Rules: rules}
	c.Chains["host-ports-raw"] = Chain{Type: FilterChain, Hook: Prerouting, Priority: -300, Rules: []Rule{
		rule("no way to the node's loopback", FromPodLink{}, ToLoopback{}, Counter{}, Drop{}),
	}}
	c.Chains["host-ports-postrouting"] = Chain{Type: NATChain, Hook: Postrouting, Priority: 100, Rules: []Rule{
		rule("hairpin", ToItself{"hairpin4", IPv4Pair}, MasqueradeRandom{}),
		rule("", ToItself{"hairpin6", IPv6Pair}, MasqueradeRandom{}),
		rule("", FromLoopback{}, ToPodLink{}, MasqueradeRandom{}),
		rule("", ToPodLink{}, FromLoopback{}, MasqueradeRandom{}),
	}}
	return c
}

func randomMap(rng *rand.Rand) Map {
	m := Map{mapTypes()[rng.IntN(4)], map[PortKey]netip.AddrPort{}}
	addr := func() netip.Addr {
		if m.Type.family() == IPv4Addr {
			return netip.AddrFrom4([4]byte{10, 0, 0, byte(rng.IntN(3))})
		}
		return netip.AddrFrom16([16]byte{0: 0xfd, 15: byte(rng.IntN(3))})
	}
	for range rng.IntN(12) {
		k := PortKey{Protocol: []Protocol{TCP, UDP, SCTP}[rng.IntN(3)], Port: uint16(1 + rng.IntN(4))}
		if m.Type.byAddr() {
			k.Addr = addr()
		}
		m.Elements[k] = netip.AddrPortFrom(addr(), uint16(1+rng.IntN(2)))
	}
	return m
}
