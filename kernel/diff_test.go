package kernel

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func newSampleFake(t *testing.T, s State) *Fake {
	t.Helper()
	f := NewFake(sampleInterfaces()...)
	f.AddPodLink(samplePodLink)
	if err := f.Apply(t.Context(), Diff(State{}, s)); err != nil {
		t.Fatal(err)
	}
	return f
}

func stateOf(t *testing.T, k Kernel) State {
	t.Helper()
	s, err := k.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return s.State
}

// only returns have without the sysctls that want does not name.
func only(have, want State) State {
	have = have.Clone()
	for key := range have.Sysctls {
		if _, ok := want.Sysctls[key]; !ok {
			delete(have.Sysctls, key)
		}
	}
	return have
}

func TestAnyStateCanFollowAnyOther(t *testing.T) {
	for seed := range uint64(300) {
		rng := rand.New(rand.NewPCG(seed, 114))
		a := randomState(rng)
		f := newSampleFake(t, a)
		if d := cmp.Diff(a.String(), stateOf(t, f).String()); d != "" {
			t.Fatalf("seed %d, first state (-want +got):\n%s", seed, d)
		}
		for _, b := range []State{altered(rng, a), randomState(rng), randomState(rng)} {
			plan := Diff(stateOf(t, f), b)
			if err := f.Apply(t.Context(), plan); err != nil {
				t.Fatalf("seed %d: %v\nplan:\n%s", seed, err, plan)
			}
			if d := cmp.Diff(b.String(), only(stateOf(t, f), b).String()); d != "" {
				t.Fatalf("seed %d (-want +got):\n%s\nplan:\n%s", seed, d, plan)
			}
			if again := Diff(stateOf(t, f), b); !again.Empty() {
				t.Fatalf("seed %d: a second plan is not empty:\n%s", seed, again)
			}
		}
	}
}

func TestDiffOfEqualStatesIsEmpty(t *testing.T) {
	for seed := range uint64(50) {
		s := randomState(rand.New(rand.NewPCG(seed, 1)))
		if p := Diff(s, s.Clone()); !p.Empty() || p.String() != "" {
			t.Fatalf("seed %d:\n%s", seed, p)
		}
	}
}

func TestDiffToNothingLeavesSysctlsOnly(t *testing.T) {
	f := newSampleFake(t, sampleState())
	if err := f.Apply(t.Context(), Diff(stateOf(t, f), State{})); err != nil {
		t.Fatal(err)
	}
	want := `# eth0
# eth0 192.0.2.1/24
# eth0 2001:db8::1/64
# ` + samplePodLink + `
sysctl -qw net/ipv4/conf/all/send_redirects=0
sysctl -qw net/ipv4/ip_forward=1
sysctl -qw net/ipv6/conf/all/forwarding=1
`
	if d := cmp.Diff(want, f.String()); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestStatePrintsAsTheCommandsThatMakeIt(t *testing.T) {
	s := sampleState()
	s.Links[IPIPLink] = Link{Name: IPIPLink, Kind: IPIP, Local: ip("192.0.2.1"), MTU: 1480}
	s.Links[IP6TnlLink] = Link{Name: IP6TnlLink, Kind: IP6Tnl, MTU: 1460, Up: true}
	s.Table = &Table{}
	want := `sysctl -qw net/ipv4/conf/all/send_redirects=0
sysctl -qw net/ipv4/ip_forward=1
sysctl -qw net/ipv6/conf/all/forwarding=1
ip link add name ropeway-ip6tnl type ip6tnl external
ip link set dev ropeway-ip6tnl addrgenmode none
ip link set dev ropeway-ip6tnl mtu 1460 up
ip link add name ropeway-ipip type ipip local 192.0.2.1 mode ipip ttl 64
ip link set dev ropeway-ipip addrgenmode none
ip link set dev ropeway-ipip mtu 1480
ip link add name ropeway-vxlan address 02:00:00:00:00:01 type vxlan id 114 local 192.0.2.1 dstport 4789 nolearning
ip link set dev ropeway-vxlan addrgenmode none
ip link set dev ropeway-vxlan mtu 1450 up
sysctl -qw net/ipv4/conf/ropeway-vxlan/rp_filter=2
ip address add 10.244.1.1/32 dev ropeway-vxlan
ip address add fd00:1::1/128 dev ropeway-vxlan nodad noprefixroute
ip neighbour replace 10.244.2.1 lladdr 02:00:00:00:00:02 dev ropeway-vxlan nud permanent
ip neighbour replace fe80::2 lladdr 02:00:00:00:00:02 dev ropeway-vxlan nud permanent
ip neighbour replace 10.244.1.5 lladdr 02:00:00:00:00:05 dev rwp0123456789ab nud permanent
ip neighbour replace fd00:1::5 lladdr 02:00:00:00:00:05 dev rwp0123456789ab nud permanent
bridge fdb replace 02:00:00:00:00:02 dev ropeway-vxlan dst 192.0.2.2 self permanent
ip route add unreachable 10.0.0.0/8 proto 114 metric 700
ip route add unreachable 10.244.1.0/24 proto 114
ip route add 10.244.1.5/32 dev rwp0123456789ab scope link proto 114 src 10.244.1.1
ip route add 10.244.2.0/24 via 10.244.2.1 dev ropeway-vxlan onlink proto 114 src 10.244.1.1
ip route add 10.244.3.0/24 via 192.0.2.3 dev eth0 proto 114
ip route add 10.244.4.0/24 via inet6 2001:db8::4 dev eth0 proto 114
ip -6 route add unreachable fd00::/8 proto 114 metric 700
ip -6 route add unreachable fd00:1::/64 proto 114
ip -6 route add fd00:1::5/128 dev rwp0123456789ab proto 114 src fd00:1::1
ip -6 route add fd00:2::/64 via fe80::2 dev ropeway-vxlan proto 114 src fd00:1::1
ip -6 route add fd00:3::/64 via 2001:db8::3 dev eth0 proto 114
nft -f - <<'EOF'
add table inet ropeway
EOF
`
	if d := cmp.Diff(want, s.String()); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestDeletionsPrintInReverseOrderOfAdditions(t *testing.T) {
	have := sampleState()
	have.Table = &Table{}
	want := State{Links: have.Links}
	expected := `nft -f - <<'EOF'
add table inet ropeway
delete table inet ropeway
EOF
ip route del 10.0.0.0/8 proto 114 metric 700
ip route del 10.244.1.0/24 proto 114
ip route del 10.244.1.5/32 dev rwp0123456789ab proto 114
ip route del 10.244.2.0/24 dev ropeway-vxlan proto 114
ip route del 10.244.3.0/24 dev eth0 proto 114
ip route del 10.244.4.0/24 dev eth0 proto 114
ip -6 route del fd00::/8 proto 114 metric 700
ip -6 route del fd00:1::/64 proto 114 metric 1024
ip -6 route del fd00:1::5/128 dev rwp0123456789ab proto 114 metric 1024
ip -6 route del fd00:2::/64 dev ropeway-vxlan proto 114 metric 1024
ip -6 route del fd00:3::/64 dev eth0 proto 114 metric 1024
bridge fdb del 02:00:00:00:00:02 dev ropeway-vxlan dst 192.0.2.2 self
ip neighbour del 10.244.2.1 dev ropeway-vxlan
ip neighbour del fe80::2 dev ropeway-vxlan
ip neighbour del 10.244.1.5 dev rwp0123456789ab
ip neighbour del fd00:1::5 dev rwp0123456789ab
ip address del 10.244.1.1/32 dev ropeway-vxlan
ip address del fd00:1::1/128 dev ropeway-vxlan
`
	if d := cmp.Diff(expected, Diff(have, want).String()); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestRemadeLinkGetsBackWhatLivedOnIt(t *testing.T) {
	have, want := sampleState(), sampleState()
	l := vxlanLink("192.0.2.1")
	l.VNI = 115
	want.Links[VXLANLink] = l
	plan := Diff(have, want).String()
	for _, line := range []string{
		"ip link del dev ropeway-vxlan\nip link add name ropeway-vxlan",
		"sysctl -qw net/ipv4/conf/ropeway-vxlan/rp_filter=2\n",
		"ip address add 10.244.1.1/32 dev ropeway-vxlan\n",
		"ip neighbour replace fe80::2 lladdr",
		"bridge fdb replace 02:00:00:00:00:02",
		"ip route add 10.244.2.0/24 via",
		// Its source was lost with the link, and the kernel drops it for that.
		"ip route replace 10.244.1.5/32 dev rwp0123456789ab",
	} {
		if !strings.Contains(plan, line) {
			t.Errorf("plan lacks %q:\n%s", line, plan)
		}
	}
	for _, line := range []string{"10.244.3.0/24", "unreachable", "ip_forward", "route del", "address del"} {
		if strings.Contains(plan, line) {
			t.Errorf("plan touches %q, which is right:\n%s", line, plan)
		}
	}
}

func TestLinkChangesInPlaceWhereItCan(t *testing.T) {
	have, want := sampleState(), sampleState()
	l := vxlanLink("192.0.2.1")
	l.MTU, l.Up = 8950, true
	want.Links[VXLANLink] = l
	l.MTU, l.Up = 1450, false
	have.Links[VXLANLink] = l
	if got := Diff(have, want).String(); got != "ip link set dev ropeway-vxlan mtu 8950 up\n" {
		t.Errorf("got:\n%s", got)
	}
}

func TestPeerWithNewAddressKeepsItsForwardingEntryThroughout(t *testing.T) {
	have, want := sampleState(), sampleState()
	want.FDB = map[FDBEntry]struct{}{{VXLANLink, sampleMAC(2), ip("192.0.2.22")}: {}}
	expected := "bridge fdb replace 02:00:00:00:00:02 dev ropeway-vxlan dst 192.0.2.22 self permanent\n"
	if got := Diff(have, want).String(); got != expected {
		t.Errorf("got:\n%s", got)
	}
}

func TestIPv6RouteIsReplacedInPlaceByOneThroughATunnel(t *testing.T) {
	have, want := sampleState(), sampleState()
	have.Routes[to("fd00:2::/64")] = Route{Type: Unicast, Link: "eth0", Gateway: ip("2001:db8::2")}
	expected := "ip -6 route replace fd00:2::/64 via fe80::2 dev ropeway-vxlan proto 114 src fd00:1::1\n"
	if d := cmp.Diff(expected, Diff(have, want).String()); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestSysctlsThatDesiredDoesNotNameStay(t *testing.T) {
	have := State{Sysctls: map[string]string{"net/ipv4/ip_forward": "1", "net/ipv4/conf/all/rp_filter": "2"}}
	want := State{Sysctls: map[string]string{"net/ipv4/ip_forward": "1"}}
	if p := Diff(have, want); !p.Empty() {
		t.Errorf("got:\n%s", p)
	}
}

// manyPeers is a node of a cluster of n other nodes, dual-stack.
func manyPeers(n int) State {
	s := sampleState()
	for i := range n {
		v4 := prefix(fmt.Sprintf("10.%d.%d.0/24", 100+i/250, i%250))
		v6 := prefix(fmt.Sprintf("fd01:%x::/64", i))
		mac := MAC{2, 1, 0, 0, byte(i >> 8), byte(i)}
		for dst, source := range map[netip.Prefix]string{v4: "10.244.1.1", v6: "fd00:1::1"} {
			gateway := dst.Addr().Next()
			if dst.Addr().Is6() {
				gateway = ip(fmt.Sprintf("fe80::1:%x", i))
			}
			s.Routes[RouteKey{Dst: dst}] = Route{Type: Unicast, Link: VXLANLink, Gateway: gateway, OnLink: gateway.Is4(), Src: ip(source)}
			s.Neighbours[NeighbourKey{VXLANLink, gateway}] = mac
		}
		s.FDB[FDBEntry{VXLANLink, mac, ip(fmt.Sprintf("198.18.%d.%d", i/250, 1+i%250))}] = struct{}{}
	}
	return s
}

func TestFiveThousandPeersAreComparedAndAppliedInTime(t *testing.T) {
	s := manyPeers(5000)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	f := NewFake(sampleInterfaces()...)
	f.AddPodLink(samplePodLink)
	if err := f.Apply(ctx, Diff(State{}, s)); err != nil {
		t.Fatal(err)
	}
	if p := Diff(stateOf(t, f), s); !p.Empty() {
		t.Errorf("%d operations are left", len(p.Ops))
	}
}
