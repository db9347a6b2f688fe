package kernel

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netns"
)

// flowSpace is a namespace in which what is sent is tracked. 10.9.0.1 to .3 and
// fd09::1 to ::3 are addresses of its own.
func flowSpace(t testing.TB) nftSpace {
	t.Helper()
	s := newNftSpace(t)
	s.nft("add table inet t\nadd chain inet t o { type nat hook output priority -100; }\n" +
		"add rule inet t o udp dport 53 dnat ip to 10.9.0.2\nadd rule inet t o udp dport 53 dnat ip6 to fd09::2")
	s.run("ip link set lo up\nfor n in 1 2 3; do ip address add 10.9.0.$n/32 dev lo; ip -6 address add fd09::$n/128 dev lo nodad; done", "sh")
	return s
}

// send makes n flows of UDP, each from another port.
func (s nftSpace) send(from, to netip.AddrPort, n int) {
	s.t.Helper()
	s.inside(func() {
		for i := range n {
			local := net.UDPAddrFromAddrPort(netip.AddrPortFrom(from.Addr(), uint16(int(from.Port())+i)))
			c, err := net.DialUDP("udp", local, net.UDPAddrFromAddrPort(to))
			if err != nil {
				s.t.Error(err)
				return
			}
			_, _ = c.Write([]byte("x")) // nobody may listen there
			_ = c.Close()
		}
	})
}

// flows lists what is tracked, without what belongs to nobody here.
func (s nftSpace) flows() map[string]int {
	s.t.Helper()
	seen := map[string]int{}
	walks := []walk{{family: 0}}
	if _, err := forget(s.t.Context(), s.ns, walks, func(f trackedFlow) bool {
		seen[fmt.Sprint(f.protocol, " ", f.client.Addr(), " ", f.To.Addr(), " ", f.From.Addr())]++
		return false
	}); err != nil {
		s.t.Fatal(err)
	}
	return seen
}

func TestForgottenAddressHasNoFlowsAndOthersKeepTheirs(t *testing.T) {
	s := flowSpace(t)
	port := func(a string, p uint16) netip.AddrPort { return netip.AddrPortFrom(netip.MustParseAddr(a), p) }
	for _, p := range []string{"10.9.0.", "fd09::"} {
		s.send(port(p+"2", 4000), port(p+"3", 99), 1) // begun by .2
		s.send(port(p+"1", 4000), port(p+"2", 99), 1) // sent to it
		s.send(port(p+"1", 4100), port(p+"3", 53), 1) // translated to it
		s.send(port(p+"1", 4200), port(p+"3", 99), 1) // of others
	}
	s.inside(func() {
		if l, err := net.Listen("tcp", "10.9.0.2:80"); err != nil {
			t.Error(err)
		} else if c, err := net.DialTimeout("tcp", l.Addr().String(), 5*time.Second); err != nil {
			t.Error(err)
		} else {
			t.Cleanup(func() { _, _ = c.Close(), l.Close() })
		}
	})
	before := s.flows()
	if len(before) < 9 {
		t.Fatalf("tracked: %v", before)
	}
	want := map[string]int{}
	for flow, n := range before {
		if !strings.Contains(flow, "10.9.0.2") && !strings.Contains(flow, "fd09::2") {
			want[flow] = n
		}
	}
	n, err := forgetAddresses(t.Context(), s.ns, []netip.Addr{netip.MustParseAddr("10.9.0.2"), netip.MustParseAddr("fd09::2")})
	if err != nil || n < 7 {
		t.Errorf("%d forgotten, error %v", n, err)
	}
	if d := cmp.Diff(want, s.flows()); d != "" {
		t.Errorf("(-want +left):\n%s", d)
	}
	if n, err := forgetAddresses(t.Context(), s.ns, nil); n != 0 || err != nil {
		t.Errorf("no addresses: %d, %v", n, err)
	}
	s.inside(func() { // all in one walk
		if n, err := forgetAddresses(t.Context(), netns.None(), []netip.Addr{netip.MustParseAddr("10.9.0.1"), netip.MustParseAddr("fd09::1")}); n < 2 || err != nil {
			t.Errorf("of the caller's namespace: %d, %v", n, err)
		}
	})
}

// BenchmarkForgetAddresses is the cost of a pod without flows, by the number of
// those that others have.
func BenchmarkForgetAddresses(b *testing.B) {
	addresses := []netip.Addr{netip.MustParseAddr("10.9.0.3"), netip.MustParseAddr("fd09::3")}
	for _, flows := range []int{0, 100, 4000, 10_000, 50_000} {
		b.Run(fmt.Sprint(flows), func(b *testing.B) {
			s := flowSpace(b)
			for port := uint16(1); flows > 0; port++ {
				s.send(netip.MustParseAddrPort("10.9.0.1:20000"), netip.AddrPortFrom(netip.MustParseAddr("10.9.0.2"), port), min(flows, 10_000))
				flows -= min(flows, 10_000)
			}
			s.inside(func() {
				for b.Loop() {
					if _, err := ForgetAddresses(context.Background(), addresses); err != nil {
						b.Error(err)
					}
				}
			})
		})
	}
}
