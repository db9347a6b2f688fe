package kernel

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
)

// sampleInterfaces is the underlay under all sample states.
func sampleInterfaces() []Interface {
	return []Interface{{
		Name: "eth0", Kind: "veth", MTU: 1500, Up: true,
		Addresses: prefixes("192.0.2.1/24", "2001:db8::1/64"),
	}}
}

const samplePodLink = "rwp0123456789ab"

func ip(s string) netip.Addr        { return netip.MustParseAddr(s) }
func prefix(s string) netip.Prefix  { return netip.MustParsePrefix(s) }
func to(s string) RouteKey          { return RouteKey{Dst: prefix(s)} }
func sampleMAC(n int) MAC           { return MAC{2, 0, 0, 0, byte(n >> 8), byte(n)} }
func on(link, p string) Address     { return Address{link, prefix(p)} }
func near(l, a string) NeighbourKey { return NeighbourKey{l, ip(a)} }

func vxlanLink(local string) Link {
	return Link{
		Name: VXLANLink, Kind: VXLAN, Local: ip(local), MTU: 1450, Up: true,
		MAC: sampleMAC(1), VNI: 114, Port: 4789,
	}
}

// sampleState is a dual-stack node in vxlan mode with one pod and one peer of
// each kind: tunnelled, direct, refused.
func sampleState() State {
	return State{
		Links: map[string]Link{VXLANLink: vxlanLink("192.0.2.1")},
		Addresses: map[Address]struct{}{
			on(VXLANLink, "10.244.1.1/32"): {}, on(VXLANLink, "fd00:1::1/128"): {},
		},
		Routes: map[RouteKey]Route{
			to("10.244.1.0/24"):         {Type: Unreachable},
			to("fd00:1::/64"):           {Type: Unreachable},
			to("10.244.1.5/32"):         {Type: Unicast, Link: samplePodLink, Src: ip("10.244.1.1")},
			to("fd00:1::5/128"):         {Type: Unicast, Link: samplePodLink, Src: ip("fd00:1::1")},
			to("10.244.2.0/24"):         {Type: Unicast, Link: VXLANLink, Gateway: ip("10.244.2.1"), OnLink: true, Src: ip("10.244.1.1")},
			to("fd00:2::/64"):           {Type: Unicast, Link: VXLANLink, Gateway: ip("fe80::2"), Src: ip("fd00:1::1")},
			to("10.244.3.0/24"):         {Type: Unicast, Link: "eth0", Gateway: ip("192.0.2.3")},
			to("fd00:3::/64"):           {Type: Unicast, Link: "eth0", Gateway: ip("2001:db8::3")},
			to("10.244.4.0/24"):         {Type: Unicast, Link: "eth0", Gateway: ip("2001:db8::4")},
			{prefix("10.0.0.0/8"), 700}: {Type: Unreachable},
			{prefix("fd00::/8"), 700}:   {Type: Unreachable},
		},
		Neighbours: map[NeighbourKey]MAC{
			near(samplePodLink, "10.244.1.5"): sampleMAC(5), near(samplePodLink, "fd00:1::5"): sampleMAC(5),
			near(VXLANLink, "10.244.2.1"): sampleMAC(2), near(VXLANLink, "fe80::2"): sampleMAC(2),
		},
		FDB: map[FDBEntry]struct{}{{VXLANLink, sampleMAC(2), ip("192.0.2.2")}: {}},
		Sysctls: map[string]string{
			"net/ipv4/ip_forward":                   "1",
			"net/ipv6/conf/all/forwarding":          "1",
			"net/ipv4/conf/all/send_redirects":      "0",
			"net/ipv4/conf/ropeway-vxlan/rp_filter": "2",
		},
	}
}

// randomState draws a valid state over [sampleInterfaces] and one pod link
// from few names and values, so that two states overlap.
func randomState(rng *rand.Rand) State {
	s := newState()
	maybe := func() bool { return rng.IntN(3) > 0 }
	s.Sysctls["net/ipv4/ip_forward"] = fmt.Sprint(rng.IntN(2))
	links := []Link{
		vxlanLink([]string{"192.0.2.1", "2001:db8::1"}[rng.IntN(2)]),
		{Name: IPIPLink, Kind: IPIP, Local: ip("192.0.2.1"), Up: true},
		{Name: SITLink, Kind: SIT, Local: ip("192.0.2.1"), Up: true},
		{Name: IP6TnlLink, Kind: IP6Tnl, Up: true},
	}
	sources := []netip.Addr{{}, ip("192.0.2.1"), ip("2001:db8::1")}
	for _, l := range links {
		if !maybe() {
			continue
		}
		l.MTU = 1280 + rng.IntN(2)
		if l.Kind == VXLAN {
			l.VNI += uint32(rng.IntN(2))
		}
		s.Links[l.Name] = l
		s.Sysctls["net/ipv4/conf/"+l.Name+"/rp_filter"] = fmt.Sprint(rng.IntN(3))
		for _, p := range prefixes("10.244.1.1/32", "10.244.1.2/32", "fd00:1::1/128") {
			if maybe() {
				s.Addresses[Address{l.Name, p}] = struct{}{}
				sources = append(sources, p.Addr())
			}
		}
	}
	addRandomPaths(rng, s, sources)
	if maybe() {
		s.Table = randomTable(rng)
	}
	for _, d := range []Direction{ToPod, FromPod} {
		if maybe() {
			s.Shapers[ShaperKey{samplePodLink, d}] = Shaper{Rate: uint64(1+rng.IntN(2)) * 1_000_000, Burst: 64_000, Queue: 140_000}
		}
	}
	return s
}

// altered returns s without some of its routes and neighbours, and with a VXLAN
// device that must be made anew: most of what it holds is as in s.
func altered(rng *rand.Rand, s State) State {
	s = s.Clone()
	if l, ok := s.Links[VXLANLink]; ok {
		l.VNI = 229 - l.VNI
		s.Links[VXLANLink] = l
	}
	maps.DeleteFunc(s.Routes, func(RouteKey, Route) bool { return rng.IntN(8) == 0 })
	maps.DeleteFunc(s.Neighbours, func(NeighbourKey, MAC) bool { return rng.IntN(8) == 0 })
	return s
}

// addRandomPaths adds peers and pods; sources are the node's addresses.
func addRandomPaths(rng *rand.Rand, s State, sources []netip.Addr) {
	ways := sortedKeys(s.Links)
	ways = append(ways, "eth0", samplePodLink, "")
	for n := range 5 {
		for _, dst := range prefixes(fmt.Sprintf("10.244.%d.0/24", n+2), fmt.Sprintf("fd00:%d::/64", n+2)) {
			if rng.IntN(4) == 0 {
				continue
			}
			r := Route{Type: Unicast, Link: ways[rng.IntN(len(ways))]}
			gateway := dst.Addr().Next()
			switch r.Link {
			case "":
				r.Type = Unreachable
			case samplePodLink:
				s.Neighbours[NeighbourKey{r.Link, gateway}] = sampleMAC(rng.IntN(3))
			case "eth0":
				r.Gateway = ip([]string{"2001:db8::9", "2001:db8::8"}[rng.IntN(2)])
			case IP6TnlLink:
				r.Encap = Encap{Src: ip("2001:db8::1"), Dst: ip([]string{"2001:db8::9", "2001:db8::8"}[rng.IntN(2)])}
			default:
				r.Gateway, r.OnLink = gateway, gateway.Is4()
				if gateway.Is6() {
					gateway = ip(fmt.Sprintf("fe80::%d", n+2))
					r.Gateway = gateway
				}
				s.Neighbours[NeighbourKey{r.Link, gateway}] = sampleMAC(n + 2)
			}
			if l := s.Links[r.Link]; l.Kind == VXLAN {
				vtep := l.Local
				for range 1 + rng.IntN(2) {
					vtep = vtep.Next()
				}
				s.FDB[FDBEntry{r.Link, sampleMAC(2*n + 2 + dst.Addr().BitLen()), vtep}] = struct{}{}
			}
			if src := sources[rng.IntN(len(sources))]; r.Type == Unicast && src.IsValid() && src.Is4() == dst.Addr().Is4() {
				r.Src = src
			}
			s.Routes[RouteKey{dst, 100 * rng.IntN(2)}] = r
		}
	}
}
