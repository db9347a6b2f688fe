package kernel

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestAppliedStateReadsBackEqual(t *testing.T) {
	forEachState(t, func(t *testing.T, s space, desired State) {
		s.reach(desired)
		s.reach(State{}) // and all of it can be taken back
	})
}

// inspection prints what the namespace holds, as far as it does not differ
// between two namespaces that hold the same.
const inspection = `ip -d -o link show | grep ropeway- | sed 's/^[0-9]*: //; s/permaddr [0-9a-f:]*//'
ip -o address show | grep ropeway- | sed 's/^[0-9]*: //'
ip route show table all | sort; ip -6 route show table all | sort
ip neighbour show nud permanent | sort; bridge fdb | grep ropeway-
sysctl -a 2>/dev/null | grep -E 'rp_filter|forward|redirects'
nft list ruleset`

func TestPastedPlanGivesTheSameKernelState(t *testing.T) {
	forEachState(t, func(t *testing.T, applied space, desired State) {
		applied.reach(desired)
		pasted := newSpace(t)
		if out := pasted.sh(Diff(pasted.state(), desired).String()); out != "" {
			t.Errorf("the commands said:\n%s", out)
		}
		pasted.holds(desired)
		if d := cmp.Diff(strings.Split(applied.sh(inspection), "\n"), strings.Split(pasted.sh(inspection), "\n")); d != "" {
			t.Errorf("the tools see a difference (-applied +pasted):\n%s", d)
		}
		if out := pasted.sh(Diff(desired, State{}).String()); out != "" {
			t.Errorf("the deletions said:\n%s", out)
		}
		pasted.holds(State{})
	})
}

func TestDiffRepairsDamage(t *testing.T) {
	s := newSpace(t)
	desired := sampleState()
	desired.Table = sampleTables()["vxlan dual stack"]
	for _, damage := range []string{
		"ip route del 10.244.2.0/24",
		"ip -6 route del fd00:2::/64",
		"ip route replace 10.244.2.0/24 via 192.0.2.9 proto 114",
		"ip -6 route append fd00:2::/64 via 2001:db8::9 proto 114",
		"ip route add 10.99.0.0/16 dev eth0 proto 114",
		"ip -6 route add fd99::/64 dev eth0 metric 5 proto 114",
		"ip route replace blackhole 10.244.1.0/24 proto 114",
		"ip neighbour del 10.244.2.1 dev ropeway-vxlan",
		"ip neighbour replace fe80::2 lladdr 02:ff:00:00:00:00 dev ropeway-vxlan nud permanent",
		"ip neighbour replace 10.244.1.5 lladdr 02:ff:00:00:00:00 dev rwp0123456789ab nud reachable",
		"ip neighbour add 10.244.9.9 lladdr 02:ff:00:00:00:00 dev ropeway-vxlan nud permanent",
		"bridge fdb del 02:00:00:00:00:02 dev ropeway-vxlan dst 192.0.2.2",
		"bridge fdb replace 02:00:00:00:00:02 dev ropeway-vxlan dst 192.0.2.99",
		"bridge fdb append 00:00:00:00:00:00 dev ropeway-vxlan dst 192.0.2.99; bridge fdb append 00:00:00:00:00:00 dev ropeway-vxlan dst 192.0.2.98",
		"ip address del 10.244.1.1/32 dev ropeway-vxlan",
		"ip address add 10.7.7.7/24 dev ropeway-vxlan",
		"ip link set ropeway-vxlan down",
		"ip link set ropeway-vxlan mtu 1300",
		"ip link set ropeway-vxlan address 02:ff:00:00:00:00",
		"ip link del ropeway-vxlan",
		"ip link del ropeway-vxlan; ip link add ropeway-vxlan type bridge; ip link set ropeway-vxlan up",
		"ip link del ropeway-vxlan; ip link add ropeway-vxlan address 02:00:00:00:00:01 type vxlan id 114 local 192.0.2.1 dstport 4789 learning",
		"ip link add ropeway-stale type bridge",
		"sysctl -qw net/ipv4/ip_forward=0 net/ipv4/conf/ropeway-vxlan/rp_filter=0",
		"nft delete table inet ropeway",
		"ip -s -s neighbour flush all nud permanent >/dev/null; ip route flush proto 114; ip -6 route flush proto 114; nft flush ruleset",
	} {
		s.reach(desired)
		s.sh(damage)
		if Diff(s.state(), desired).Empty() {
			t.Errorf("no difference seen after: %s", damage)
		}
		plan := Diff(s.state(), desired)
		s.reach(desired)
		if n := len(plan.Ops); n > 15 && !strings.Contains(damage, "flush") {
			t.Errorf("%d operations to repair: %s", n, damage)
		}
	}
}

func TestModesFollowEachOtherWithNothingStale(t *testing.T) {
	s := newSpace(t)
	direct := sampleState()
	direct.Links, direct.Addresses, direct.FDB, direct.Neighbours = nil, nil, nil, nil
	direct.Sysctls = nil
	direct.Routes = map[RouteKey]Route{
		to("10.244.1.5/32"): {Type: Unicast, Link: samplePodLink},
		to("10.244.2.0/24"): {Type: Unicast, Link: "eth0", Gateway: ip("192.0.2.2")},
		to("fd00:2::/64"):   {Type: Unicast, Link: "eth0", Gateway: ip("2001:db8::2")},
	}
	states := []State{sampleState(), direct}
	overIPv6 := sampleState()
	overIPv6.Links = map[string]Link{VXLANLink: vxlanLink("2001:db8::1")}
	overIPv6.FDB = map[FDBEntry]struct{}{{VXLANLink, sampleMAC(2), ip("2001:db8::2")}: {}}
	states = append(states, overIPv6)
	for _, from := range states {
		for _, to := range states {
			s.reach(from)
			s.reach(to)
		}
	}
}

func TestApplyTwiceIsNoError(t *testing.T) {
	s := newSpace(t)
	add, del := Diff(State{}, sampleState()), Diff(sampleState(), State{})
	for _, p := range []Plan{add, add, del, del} {
		if err := s.try(p); err != nil {
			t.Fatal(err)
		}
	}
}

func TestSnapshotTellsWhatBelongsToOthers(t *testing.T) {
	s := newSpace(t)
	s.sh("ip link add br0 type bridge; ip route add 10.50.0.0/16 via 192.0.2.9 proto static")
	s.reach(sampleState())
	snapshot, err := s.kernel.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := []Interface{
		{Name: "br0", Kind: "bridge", MTU: 1500},
		{Name: "eth0", Kind: "veth", MTU: 1500, Up: true, Addresses: prefixes("192.0.2.1/24", "2001:db8::1/64")},
		{Name: "lo", MTU: 65536, Up: true, Addresses: prefixes("127.0.0.1/8", "::1/128")},
		{Name: "peer0", Kind: "veth", MTU: 1500, Up: true},
		{Name: "pod0", Kind: "veth", MTU: 1500, Up: true},
	}
	// A kernel with tunnel modules gives every namespace a device of each.
	have := slices.DeleteFunc(snapshot.Interfaces, func(i Interface) bool {
		return slices.Contains([]string{"tunl0", "sit0", "ip6tnl0"}, i.Name)
	})
	comparePrefixes := cmp.Comparer(func(a, b interface{ String() string }) bool { return a.String() == b.String() })
	if d := cmp.Diff(want, have, comparePrefixes); d != "" {
		t.Errorf("interfaces (-want +got):\n%s", d)
	}
	if d := cmp.Diff(map[string]Admin{samplePodLink: AdminUp}, snapshot.PodLinks); d != "" {
		t.Errorf("pod links (-want +got):\n%s", d)
	}
	s.sh("ip link set " + samplePodLink + " down")
	if snapshot, err = s.kernel.Snapshot(t.Context()); err != nil || snapshot.PodLinks[samplePodLink] != AdminDown {
		t.Errorf("a pod link that is down is not said to be: %v, %v", snapshot.PodLinks, err)
	}
}

func TestFailuresNameObjectCauseAndRemedy(t *testing.T) {
	tests := []struct {
		name   string
		before string
		op     Op
		want   []string
	}{
		{
			"foreign route", "ip route add 10.244.9.0/24 via 192.0.2.9 proto static",
			RouteAdd{to("10.244.9.0/24"), Route{Type: Unreachable}},
			[]string{"10.244.9.0/24", "protocol static", "ip route del 10.244.9.0/24"},
		},
		{
			"foreign IPv6 route", "ip -6 route add fd00:9::/64 via 2001:db8::9 proto bgp",
			RouteAdd{to("fd00:9::/64"), Route{Type: Unicast, Link: "eth0", Gateway: ip("2001:db8::8")}},
			[]string{"fd00:9::/64", "protocol bgp", "ip -6 route del fd00:9::/64"},
		},
		{
			"gateway of nobody", "",
			RouteAdd{to("10.244.9.0/24"), Route{Type: Unicast, Link: "eth0", Gateway: ip("198.51.100.1")}},
			[]string{"10.244.9.0/24", "198.51.100.1", "ip address show dev eth0"},
		},
		{
			"source of nobody", "",
			RouteAdd{to("10.244.9.0/24"), Route{Type: Unicast, Link: "eth0", Src: ip("10.244.1.1")}},
			[]string{"10.244.9.0/24", "10.244.1.1", "ip address"},
		},
		{
			"VNI taken", "ip link add flannel.1 type vxlan id 114 local 192.0.2.1 dstport 4789 nolearning",
			LinkAdd{vxlanLink("192.0.2.1")},
			[]string{VXLANLink, "114", "4789", "ip -d link show type vxlan"},
		},
		{
			"unknown interface", "",
			RouteAdd{to("10.244.9.0/24"), Route{Type: Unicast, Link: "eth7"}},
			[]string{"10.244.9.0/24", "eth7", "does not exist"},
		},
		{
			"sysctl outside the namespace", "", SysctlSet{"net/../kernel/panic", "1"}, []string{"kernel/panic", "net"},
		},
		{"foreign link", "", LinkDel{"eth0"}, []string{"eth0", "somebody else"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newSpace(t)
			s.sh(tt.before)
			err := s.try(Plan{Ops: []Op{tt.op}})
			if err == nil {
				t.Fatal("no error")
			}
			for _, word := range tt.want {
				if !strings.Contains(err.Error(), word) {
					t.Errorf("error lacks %q: %v", word, err)
				}
			}
		})
	}
}

func TestOneFailureHoldsUpNothingElse(t *testing.T) {
	s := newSpace(t)
	s.sh("ip route add 10.244.2.0/24 via 192.0.2.9 proto static")
	err := s.try(Diff(State{}, sampleState()))
	var failed *OpError
	if !errors.As(err, &failed) || failed.Op.(RouteAdd).Dst != prefix("10.244.2.0/24") {
		t.Fatalf("got %v", err)
	}
	if strings.Count(err.Error(), "\n") != 0 {
		t.Errorf("more than one failure: %v", err)
	}
	s.sh("ip route del 10.244.2.0/24")
	s.lacks(sampleState(), "ip route add 10.244.2.0/24 via 10.244.2.1 dev ropeway-vxlan onlink proto 114 src 10.244.1.1\n")
}

// lacks checks which commands are left to do.
func (s space) lacks(desired State, left string) {
	s.t.Helper()
	if d := cmp.Diff(left, Diff(s.state(), desired).String()); d != "" {
		s.t.Errorf("left to do (-want +got):\n%s", d)
	}
}

func TestLinkThatCannotBeMadeIsNamedOnce(t *testing.T) {
	s := newSpace(t)
	s.sh("ip link add flannel.1 type vxlan id 114 local 192.0.2.1 dstport 4789 nolearning")
	err := s.try(Diff(State{}, manyPeers(100)))
	if err == nil {
		t.Fatal("no error")
	}
	if lines := strings.Split(err.Error(), "\n"); len(lines) > 6 {
		t.Errorf("%d lines:\n%s", len(lines), strings.Join(lines[:6], "\n"))
	}
	if !strings.Contains(err.Error(), "operations need link "+VXLANLink) {
		t.Errorf("got: %v", err)
	}
}

func TestWhatAThousandMissingLinksPreventFitsTwoLines(t *testing.T) {
	a := application{unmade: map[string]int{}, lacking: map[LinkKind]int{SIT: 999}}
	for n := range 1000 {
		a.unmade[fmt.Sprintf("ropeway-%04d", n)] = 1
	}
	want := "999 more sit links could not be made for the same reason\n" +
		"1000 operations need link ropeway-0000, ropeway-0001, ropeway-0002, 997 more, which could not be made"
	if d := cmp.Diff(want, errors.Join(a.untried()...).Error()); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestPodLinkThatVanishedIsNoFailure(t *testing.T) {
	s := newSpace(t)
	plan := Diff(State{}, sampleState())
	s.sh("ip link del " + samplePodLink)
	if err := s.try(plan); err != nil {
		t.Error(err)
	}
}

func TestCancelledContextStopsApplyAndSnapshot(t *testing.T) {
	s := newSpace(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.kernel.Apply(ctx, Diff(State{}, sampleState())); !errors.Is(err, context.Canceled) {
		t.Errorf("Apply: %v", err)
	}
	if _, err := s.kernel.Snapshot(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Snapshot: %v", err)
	}
	s.holds(State{})
}

func TestOpenAtNamesAPathThatIsNoNamespace(t *testing.T) {
	for _, path := range []string{"/nonexistent", "/dev/null"} {
		if k, err := OpenAt(path); err == nil {
			k.Close()
			t.Errorf("%s: no error", path)
		} else if !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestThousandPeersMakeTheRoundTrip(t *testing.T) {
	s := newSpace(t)
	s.reach(manyPeers(1000))
	s.reach(State{})
}

func TestSnapshotTellsWhichInterfacesLearnFromRouters(t *testing.T) {
	for name, tc := range map[string]struct {
		commands string
		want     bool
	}{
		"nothing learnt":   {"true", false},
		"a route":          {"ip -6 route add default via fe80::99 dev eth0 proto ra", true},
		"an address":       {"ip address add 2001:db8:1::1/64 dev eth0 valid_lft 1000 preferred_lft 1000", true},
		"they are ignored": {"ip -6 route add default via fe80::99 dev eth0 proto ra && echo 0 >/proc/sys/net/ipv6/conf/eth0/accept_ra", false},
	} {
		s := newSpace(t)
		s.sh(tc.commands)
		snapshot, err := s.kernel.Snapshot(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range snapshot.Interfaces {
			if want := tc.want && i.Name == "eth0"; i.Advertised != want {
				t.Errorf("%s: %s is advertised: %v", name, i.Name, i.Advertised)
			}
		}
	}
}
