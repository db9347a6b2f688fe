package topology

import (
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ropeway-net/ropeway/daemon/cluster"
	"github.com/ropeway-net/ropeway/endpoint"
	"github.com/ropeway-net/ropeway/hostports"
	"github.com/ropeway-net/ropeway/kernel"
)

var update = flag.Bool("update", false, "rewrite the golden files")

var modes = []Mode{VXLAN, VXLANCrossSubnet, IPIP, IPIPCrossSubnet, Direct}

// families selects which address families a fixture has.
type families struct {
	name   string
	v4, v6 bool
}

var (
	only4 = families{"v4", true, false}
	only6 = families{"v6", false, true}
	dual  = families{"dual", true, true}
)

// fixture is node n1 with n2 on its subnet and n3 behind a router, and one
// attached pod.
func fixture(mode Mode, under, pods families) Input {
	in := Input{
		Config:   Config{Mode: mode, VNI: 114, Port: 4789, Masquerade: true},
		Self:     node(1, 1, under, pods),
		Peers:    []cluster.Node{node(2, 1, under, pods), node(3, 2, under, pods)},
		BootID:   "boot-a",
		PodLinks: map[string]kernel.Admin{},
		Interfaces: []kernel.Interface{
			{Name: "lo", MTU: 65536, Up: true, Addresses: prefixes("127.0.0.1/8", "::1/128")},
			{Name: "eth0", MTU: 1500, Up: true},
		},
	}
	eth0 := &in.Interfaces[1]
	if under.v4 {
		eth0.Addresses = append(eth0.Addresses, prefixes("192.168.1.11/24")...)
	}
	if under.v6 {
		eth0.Addresses = append(eth0.Addresses, prefixes("fd00:1::11/64", "fe80::aa/64")...)
	}
	r := record("c1", families{"", pods.v4, pods.v6})
	in.Endpoints = []endpoint.Record{r}
	in.PodLinks[r.HostLink] = kernel.AdminUp
	return in
}

func node(number, subnet int, under, pods families) cluster.Node {
	n := cluster.Node{Name: fmt.Sprintf("n%d", number)}
	if under.v4 {
		n.Addresses = append(n.Addresses, netip.MustParseAddr(fmt.Sprintf("192.168.%d.1%d", subnet, number)))
	}
	if under.v6 {
		n.Addresses = append(n.Addresses, netip.MustParseAddr(fmt.Sprintf("fd00:%d::1%d", subnet, number)))
	}
	if pods.v4 {
		n.PodCIDRs = append(n.PodCIDRs, netip.MustParsePrefix(fmt.Sprintf("10.244.%d.0/24", number)))
	}
	if pods.v6 {
		n.PodCIDRs = append(n.PodCIDRs, netip.MustParsePrefix(fmt.Sprintf("fd10:244:0:%d::/64", number)))
	}
	return n
}

func record(id string, f families) endpoint.Record {
	r := endpoint.Record{
		BootID: "boot-a", ContainerID: id, IfName: "eth0", HostLink: endpoint.HostLink(id, "eth0"),
		MAC: kernel.MAC{2, 0, 0, 0, 0, 5}, Created: time.Unix(1, 0),
	}
	if f.v4 {
		r.Addresses = append(r.Addresses, netip.MustParseAddr("10.244.1.5"))
	}
	if f.v6 {
		r.Addresses = append(r.Addresses, netip.MustParseAddr("fd10:244:0:1::5"))
	}
	return r
}

func prefixes(texts ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, t := range texts {
		out = append(out, netip.MustParsePrefix(t))
	}
	return out
}

func addrs(texts ...string) []netip.Addr {
	var out []netip.Addr
	for _, t := range texts {
		out = append(out, netip.MustParseAddr(t))
	}
	return out
}

// text prints all of a result, for golden files and comparisons.
func text(r Result) string {
	var b strings.Builder
	for _, p := range r.Paths {
		fmt.Fprintf(&b, "# %s %s: %s %s %s: %s\n", p.Peer, p.PodCIDR, p.Via, p.NextHop, p.Link, p.Reason)
	}
	for _, p := range r.Problems {
		fmt.Fprintf(&b, "# problem: %v\n", p)
	}
	fmt.Fprintf(&b, "# pod mtu %d, sources %v\n%s", r.PodMTU, r.Sources, strings.TrimSuffix(r.State.String(), "\n"))
	return b.String() + "\n"
}

// TestStateOfEveryModeAndFamily compares with testdata/<mode>.txtar; run with
// -update after a wanted change and read the difference.
func TestStateOfEveryModeAndFamily(t *testing.T) {
	for _, mode := range modes {
		t.Run(string(mode), func(t *testing.T) {
			path := filepath.Join("testdata", string(mode)+".txtar")
			got := "n1 with n2 on its subnet and n3 behind a router, one pod attached.\n"
			for _, under := range []families{only4, only6, dual} {
				for _, pods := range []families{only4, only6, dual} {
					name := fmt.Sprintf("underlay %s, pods %s", under.name, pods.name)
					r, err := Compute(fixture(mode, under, pods))
					if err != nil {
						t.Fatalf("%s: %v", name, err)
					}
					got += "-- " + name + " --\n" + text(r)
				}
			}
			if *update {
				if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("differs from %s (-want +got):\n%s", path, diff)
			}
		})
	}
}

func TestResultDoesNotDependOnOrder(t *testing.T) {
	for _, mode := range modes {
		in := fixture(mode, dual, dual)
		bad := node(2, 1, dual, dual) // the same addresses and pod CIDRs again
		bad.Name = "n9"
		in.Peers = append(in.Peers, bad, node(4, 2, dual, dual), node(5, 1, dual, dual))
		second := record("c2", only4) // claims the first one's address
		in.Endpoints = append(in.Endpoints, second)
		in.PodLinks[second.HostLink] = kernel.AdminUp
		in.Interfaces = append(in.Interfaces, kernel.Interface{Name: "eth1", MTU: 9000, Addresses: prefixes("10.244.5.1/30")})
		first, err := Compute(in)
		if err != nil {
			t.Fatal(err)
		}
		if len(first.Problems) == 0 {
			t.Fatal("the input is meant to have problems")
		}
		for range 50 {
			shuffle(in.Peers)
			shuffle(in.Endpoints)
			shuffle(in.Interfaces)
			again, err := Compute(in)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(text(first), text(again)); diff != "" {
				t.Fatalf("%s: order of the input shows (-first +again):\n%s", mode, diff)
			}
		}
	}
}

func shuffle[E any](s []E) {
	rand.Shuffle(len(s), func(i, j int) { s[i], s[j] = s[j], s[i] })
}

func TestComputeRefusesWhatCannotWork(t *testing.T) {
	tests := []struct {
		name   string
		change func(*Input)
		want   []string // parts of the error
	}{
		{"own pod CIDR overlaps the underlay", func(in *Input) {
			in.Self.PodCIDRs = prefixes("192.168.0.0/16")
		}, []string{"192.168.0.0/16", "n1", "192.168.1.0/24", "eth0"}},
		{"no interface holds the node's address", func(in *Input) {
			in.Self.Addresses = addrs("192.168.7.7")
		}, []string{"192.168.7.7", "no interface"}},
		{"no address", func(in *Input) { in.Self.Addresses = nil }, []string{"n1 has no address"}},
		{"no pod CIDR", func(in *Input) { in.Self.PodCIDRs = nil }, []string{"n1 has no pod CIDR"}},
		{"pod CIDR without room", func(in *Input) { in.Self.PodCIDRs = prefixes("10.244.1.0/31") }, []string{"10.244.1.0/31", "too small"}},
		{"configured MTU below 1280 with IPv6", func(in *Input) { in.Config.MTU = 1279 }, []string{"1279", "IPv6", "1280", "eth0"}},
		{"underlay MTU too small for IPv6 in the tunnel", func(in *Input) { in.Interfaces[1].MTU = 1300 }, []string{"1250", "IPv6", "1280", "1300"}},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			in := fixture(VXLAN, dual, dual)
			tc.change(&in)
			_, err := Compute(in)
			if err == nil {
				t.Fatal("no error")
			}
			for _, part := range tc.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("error %q does not say %q", err, part)
				}
			}
		})
	}
}

func TestProblemOfOnePeerStopsNothingElse(t *testing.T) {
	tests := []struct {
		name   string
		mode   Mode
		change func(*Input)
		peer   string // whose path is refused
		reason string
		want   []string // parts of the problem
		routed bool     // an unreachable route answers senders
	}{
		{"direct behind a router", Direct, func(in *Input) {}, "n3", "behind a router", []string{"n3", "10.244.3.0/24", "direct"}, true},
		{"overlap with this node's pod CIDR", VXLAN, func(in *Input) {
			in.Peers[1].PodCIDRs = prefixes("10.244.0.0/16")
		}, "n3", "overlaps pod CIDR 10.244.1.0/24 of node n1", []string{"n3", "n1", "10.244.0.0/16"}, false},
		{"overlap with an earlier peer's pod CIDR", VXLAN, func(in *Input) {
			in.Peers[1].PodCIDRs = prefixes("10.244.2.128/25")
		}, "n3", "overlaps pod CIDR 10.244.2.0/24 of node n2", []string{"n3", "n2"}, false},
		{"overlap with the underlay", VXLAN, func(in *Input) {
			in.Peers[1].PodCIDRs = prefixes("192.168.1.128/25")
		}, "n3", "overlaps 192.168.1.0/24 on interface eth0", []string{"n3", "eth0"}, false},
		{"pod CIDR holds a node's address", VXLAN, func(in *Input) {
			in.Peers[1].PodCIDRs = prefixes("192.168.2.0/24")
		}, "n3", "contains address 192.168.2.13 of node n3", []string{"n3"}, false},
		{"address of an earlier peer", VXLAN, func(in *Input) {
			in.Peers[1].Addresses = in.Peers[0].Addresses
		}, "n3", "its address 192.168.1.12 belongs to node n2", []string{"n3", "n2", "192.168.1.12"}, true},
		{"address of this node", VXLANCrossSubnet, func(in *Input) {
			in.Peers[1].Addresses = in.Self.Addresses
		}, "n3", "its address 192.168.1.11 belongs to node n1", []string{"n3", "n1"}, true},
		{"primary address of the other family", IPIP, func(in *Input) {
			in.Peers[1].Addresses = addrs("fd00:2::13")
		}, "n3", "another family", []string{"n3", "fd00:2::13"}, true},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			in := fixture(tc.mode, only4, only4)
			tc.change(&in)
			r, err := Compute(in)
			if err != nil {
				t.Fatal(err)
			}
			if len(r.Problems) != 1 {
				t.Fatalf("problems %v, want one", r.Problems)
			}
			for _, part := range tc.want {
				if !strings.Contains(r.Problems[0].Error(), part) {
					t.Errorf("problem %q does not say %q", r.Problems[0], part)
				}
			}
			for _, p := range r.Paths {
				refused := p.Via == ViaRefused
				if refused != (p.Peer == tc.peer) {
					t.Errorf("path %+v: refused is %v", p, refused)
				}
				if refused && !strings.Contains(p.Reason, tc.reason) {
					t.Errorf("reason %q, want %q", p.Reason, tc.reason)
				}
				route, routed := r.State.Routes[kernel.RouteKey{Dst: p.PodCIDR}]
				if refused && (routed != tc.routed || routed && route.Type != kernel.Unreachable) {
					t.Errorf("route %+v (%v), want unreachable: %v", route, routed, tc.routed)
				}
			}
		})
	}
}

func TestOwnObjectsAreNoUnderlay(t *testing.T) {
	in := fixture(VXLAN, only4, only4)
	in.Interfaces = append(in.Interfaces,
		kernel.Interface{Name: kernel.VXLANLink, MTU: 1450, Addresses: prefixes("10.244.1.1/32")},
		kernel.Interface{Name: "rwp0123456789ab", MTU: 1450, Addresses: prefixes("169.254.1.1/32")})
	if _, err := Compute(in); err != nil {
		t.Fatal(err)
	}
}

func TestMTUOfEveryEncapsulation(t *testing.T) {
	tests := []struct {
		mode  Mode
		under families
		cfg   int
		want  int
	}{
		{VXLAN, only4, 0, 1450},
		{VXLAN, only6, 0, 1430},
		{VXLANCrossSubnet, dual, 0, 1450},
		{IPIP, only4, 0, 1480},
		{IPIP, only6, 0, 1460},
		{IPIPCrossSubnet, only4, 0, 1480},
		{Direct, only4, 0, 1500},
		{Direct, only4, 1400, 1400},
		{VXLAN, only4, 1400, 1400},
		{VXLAN, only4, 9000, 1450}, // with a problem
	}
	for _, tc := range tests {
		t.Run(fmt.Sprintf("%s over %s, mtu %d", tc.mode, tc.under.name, tc.cfg), func(t *testing.T) {
			in := fixture(tc.mode, tc.under, dual)
			in.Config.MTU = tc.cfg
			r, err := Compute(in)
			if err != nil {
				t.Fatal(err)
			}
			if r.PodMTU != tc.want {
				t.Errorf("pod MTU %d, want %d", r.PodMTU, tc.want)
			}
			for _, l := range r.State.Links {
				if l.MTU != tc.want {
					t.Errorf("%s has MTU %d, want %d", l.Name, l.MTU, tc.want)
				}
			}
			complains := slices.ContainsFunc(r.Problems, func(err error) bool { return strings.Contains(err.Error(), "mtu") })
			if complains != (tc.cfg > tc.want) {
				t.Errorf("problems %v", r.Problems)
			}
		})
	}
}

func TestEndpointRoutesNeedLinkAndThisBoot(t *testing.T) {
	tests := []struct {
		name   string
		change func(*Input)
		want   bool
	}{
		{"attached", func(in *Input) {}, true},
		{"link is down", func(in *Input) { in.PodLinks = map[string]kernel.Admin{in.Endpoints[0].HostLink: kernel.AdminDown} }, false},
		{"link does not exist", func(in *Input) { in.PodLinks = nil }, false},
		{"record of an earlier boot", func(in *Input) { in.BootID = "boot-b" }, false},
		{"address that the machine itself holds", func(in *Input) {
			in.Endpoints[0].Addresses = addrs("192.168.1.11")
		}, false},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			in := fixture(VXLAN, only4, only4)
			tc.change(&in)
			r, err := Compute(in)
			if err != nil {
				t.Fatal(err)
			}
			link := in.Endpoints[0].HostLink
			routed := slices.ContainsFunc(slices.Collect(maps.Values(r.State.Routes)), func(r kernel.Route) bool { return r.Link == link })
			if routed != tc.want {
				t.Errorf("host route: %v, want %v", routed, tc.want)
			}
		})
	}
}

func TestHostRouteKeepsThePluginsSourceWhileItIsOurs(t *testing.T) {
	in := fixture(VXLAN, only4, only4)
	second := netip.MustParseAddr("192.168.1.99")
	in.Endpoints[0].Sources = []netip.Addr{second}
	key := kernel.RouteKey{Dst: netip.MustParsePrefix("10.244.1.5/32")}

	r, err := Compute(in)
	if err != nil {
		t.Fatal(err)
	}
	if got := r.State.Routes[key].Src; got != in.Self.Addresses[0] {
		t.Errorf("source %s, want the node's address since %s is not on the node", got, second)
	}
	in.Self.Addresses = append(in.Self.Addresses, second)
	if r, err = Compute(in); err != nil {
		t.Fatal(err)
	}
	if got := r.State.Routes[key].Src; got != second {
		t.Errorf("source %s, want the recorded %s", got, second)
	}
}

func TestMasqueradeOffLeavesNoTraceOfIt(t *testing.T) {
	in := fixture(VXLAN, only4, dual)
	in.Config.Masquerade = false
	r, err := Compute(in)
	if err != nil {
		t.Fatal(err)
	}
	for name := range r.State.Table.Sets {
		if _, forPorts := hostports.Table().Sets[name]; name != "nodes4" && !forPorts {
			t.Errorf("set %s is not needed", name)
		}
	}
	if _, ok := r.State.Table.Chains["postrouting-nat"]; ok {
		t.Error("chain postrouting-nat is not needed")
	}
}

func BenchmarkCompute5000Peers(b *testing.B) {
	in := fixture(VXLANCrossSubnet, dual, dual)
	in.Peers = nil
	for i := range 5000 {
		in.Peers = append(in.Peers, cluster.Node{
			Name:      fmt.Sprintf("n%05d", i+2),
			Addresses: addrs(fmt.Sprintf("172.16.%d.%d", i/250, i%250+1), fmt.Sprintf("fd00:2::%x", i+1)),
			PodCIDRs:  prefixes(fmt.Sprintf("10.%d.%d.0/24", i/250, i%250), fmt.Sprintf("fd11:0:0:%x::/64", i)),
		})
	}
	for b.Loop() {
		if _, err := Compute(in); err != nil {
			b.Fatal(err)
		}
	}
}

func TestNodeGoesOnAcceptingRouterAdvertisements(t *testing.T) {
	const key = "net/ipv6/conf/eth0/accept_ra"
	for _, tc := range []struct {
		pods       families
		advertised bool
		want       string
	}{
		{only6, true, "2"}, {only6, false, ""}, {only4, true, ""},
	} {
		in := fixture(VXLAN, only6, tc.pods)
		in.Interfaces[1].Advertised = tc.advertised
		r, err := Compute(in)
		if err != nil {
			t.Fatal(err)
		}
		if got := r.State.Sysctls[key]; got != tc.want {
			t.Errorf("%+v: accept_ra %q", tc, got)
		}
		plan := r.State.String()
		if at := strings.Index(plan, key); at > strings.Index(plan, "conf/all/forwarding") {
			t.Errorf("forwarding is switched on first:\n%s", plan)
		}
	}
}

func TestPodsWithALargerMTUThanPathsAreToldOf(t *testing.T) {
	for mtu, want := range map[int]int{0: 0, 1400: 0, 1450: 0, 1500: 1} {
		in := fixture(VXLAN, only4, only4)
		in.Endpoints[0].MTU = mtu
		r, err := Compute(in)
		if err != nil {
			t.Fatal(err)
		}
		if len(r.Problems) != want {
			t.Errorf("MTU %d: problems %v", mtu, r.Problems)
		}
	}
}
