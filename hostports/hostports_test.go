package hostports

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ropeway-net/ropeway/kernel"
)

func port(on string, host, container uint16, p kernel.Protocol) Port {
	q := Port{HostPort: host, ContainerPort: container, Protocol: p}
	if on != "" {
		q.HostIP = netip.MustParseAddr(on)
	}
	return q
}

func addrs(texts ...string) []netip.Addr {
	var all []netip.Addr
	for _, t := range texts {
		all = append(all, netip.MustParseAddr(t))
	}
	return all
}

func TestTargetsFollowTheFamilyOfHostIP(t *testing.T) {
	pod4, pod6 := "10.244.1.5", "fd00::5"
	for _, tt := range []struct {
		name string
		port Port
		pod  []netip.Addr
		want []string
	}{
		{"all addresses", port("", 80, 8080, kernel.TCP), addrs(pod4, pod6), []string{
			"host-ports4 tcp . 80 10.244.1.5:8080", "host-ports6 tcp . 80 [fd00::5]:8080"}},
		{"all of IPv4", port("0.0.0.0", 80, 8080, kernel.SCTP), addrs(pod4, pod6), []string{"host-ports4 sctp . 80 10.244.1.5:8080"}},
		{"all of IPv6", port("::", 80, 8080, kernel.UDP), addrs(pod4, pod6), []string{"host-ports6 udp . 80 [fd00::5]:8080"}},
		{"one", port("192.0.2.1", 80, 8080, kernel.TCP), addrs(pod4, pod6), []string{"host-ports-on4 192.0.2.1 . tcp . 80 10.244.1.5:8080"}},
		{"one of IPv6", port("fd01::1", 80, 8080, kernel.TCP), addrs(pod4, pod6), []string{"host-ports-on6 fd01::1 . tcp . 80 [fd00::5]:8080"}},
		{"a family that the pod lacks", port("fd01::1", 80, 8080, kernel.TCP), addrs(pod4), nil},
	} {
		var got []string
		for _, target := range Targets([]Port{tt.port}, tt.pod) {
			got = append(got, target.Map+" "+target.Key.String()+" "+target.Port.String())
		}
		if d := cmp.Diff(tt.want, got); d != "" {
			t.Errorf("%s: %s", tt.name, d)
		}
	}
}

func TestOverlaps(t *testing.T) {
	for _, tt := range []struct {
		name string
		a, b Port
		pod  []netip.Addr // of b
		want bool
	}{
		{"the same", port("", 80, 1, kernel.TCP), port("", 80, 2, kernel.TCP), addrs("10.0.0.2"), true},
		{"another protocol", port("", 80, 1, kernel.TCP), port("", 80, 2, kernel.UDP), addrs("10.0.0.2"), false},
		{"another port", port("", 80, 1, kernel.TCP), port("", 81, 2, kernel.TCP), addrs("10.0.0.2"), false},
		{"all and one", port("", 80, 1, kernel.TCP), port("192.0.2.1", 80, 2, kernel.TCP), addrs("10.0.0.2"), true},
		{"one and all", port("192.0.2.1", 80, 1, kernel.TCP), port("0.0.0.0", 80, 2, kernel.TCP), addrs("10.0.0.2"), true},
		{"one and the same", port("192.0.2.1", 80, 1, kernel.TCP), port("192.0.2.1", 80, 2, kernel.TCP), addrs("10.0.0.2"), true},
		{"one and another", port("192.0.2.1", 80, 1, kernel.TCP), port("192.0.2.2", 80, 2, kernel.TCP), addrs("10.0.0.2"), false},
		{"two families", port("", 80, 1, kernel.TCP), port("", 80, 2, kernel.TCP), addrs("fd00::2"), false},
	} {
		i := Index[string]{}
		for _, target := range Targets([]Port{tt.a}, addrs("10.0.0.1")) {
			i.Add(target, "a")
		}
		found := false
		for _, target := range Targets([]Port{tt.b}, tt.pod) {
			_, owner, overlaps := i.Find(target)
			found = found || overlaps && owner == "a"
		}
		if found != tt.want {
			t.Errorf("%s: overlap %t", tt.name, found)
		}
	}
}

func TestDuplicate(t *testing.T) {
	for _, tt := range []struct {
		name string
		list []Port
		want bool
	}{
		{"twice", []Port{port("", 80, 1, kernel.TCP), port("", 80, 1, kernel.TCP)}, true},
		{"all, and all of IPv4", []Port{port("", 80, 1, kernel.TCP), port("0.0.0.0", 80, 1, kernel.TCP)}, true},
		{"all of each family", []Port{port("::", 80, 1, kernel.TCP), port("0.0.0.0", 80, 1, kernel.TCP)}, false},
		{"all and one", []Port{port("", 80, 1, kernel.TCP), port("192.0.2.1", 80, 2, kernel.TCP)}, false},
		{"two protocols", []Port{port("", 80, 1, kernel.TCP), port("", 80, 1, kernel.UDP)}, false},
	} {
		if _, _, got := Duplicate(tt.list); got != tt.want {
			t.Errorf("%s: %t", tt.name, got)
		}
	}
}

func TestClosingLeavesOtherPodsAlone(t *testing.T) {
	table := Table()
	one, two := addrs("10.0.0.1", "fd00::1"), addrs("10.0.0.2", "fd00::2")
	Open(table, Targets([]Port{port("", 80, 80, kernel.TCP)}, two))
	before := table.String()
	ports := []Port{port("", 81, 80, kernel.TCP), port("192.0.2.1", 80, 80, kernel.UDP)}
	targets := Targets(ports, one)
	Open(table, targets)
	if m := Missing(table, targets); m != nil {
		t.Errorf("missing: %v", m)
	}
	if n := len(Close(table, one)); n != len(targets) {
		t.Errorf("%d elements closed, want %d", n, len(targets))
	}
	if d := cmp.Diff(before, table.String()); d != "" {
		t.Error(d)
	}
	if n := len(Missing(table, targets)); n != 2*len(targets) {
		t.Errorf("%d objects are missed, want %d", n, 2*len(targets))
	}
	Close(&kernel.Table{}, one) // must not mind
}

// However a packet's address became local: if it is a service's, no rule of
// ours may see it, and none may look at anything that is not local.
func TestEveryTranslationIsForTheNodesOwnAddresses(t *testing.T) {
	n := 0
	for name, c := range Table().Chains {
		for _, r := range c.Rules {
			if !strings.Contains(r.String(), "dnat") {
				continue
			}
			n++
			if !strings.HasPrefix(r.String(), "fib daddr type local ip") || !strings.Contains(r.String(), " daddr != @host-ports-not-on") {
				t.Errorf("%s: %s", name, r)
			}
			if c.Priority <= -100 {
				t.Errorf("%s runs before kube-proxy's chains", name)
			}
		}
	}
	if n != 8 {
		t.Errorf("%d translations, want 8", n)
	}
}

func TestValidate(t *testing.T) {
	for name, p := range map[string]Port{
		"no host port": port("", 0, 1, kernel.TCP), "no container port": port("", 1, 0, kernel.TCP),
		"protocol": port("", 1, 1, 47), "mapped": port("::ffff:10.0.0.1", 1, 1, kernel.TCP),
		"zone": port("fe80::1%eth0", 1, 1, kernel.TCP), "multicast": port("224.0.0.1", 1, 1, kernel.TCP),
	} {
		if p.Validate() == nil {
			t.Errorf("%s: %s is valid", name, p)
		}
	}
	if err := port("127.0.0.1", 65535, 65535, kernel.SCTP).Validate(); err != nil {
		t.Error(err)
	}
}

func TestPortsMakeTheRoundTripThroughJSON(t *testing.T) {
	want := []Port{port("", 80, 8080, kernel.TCP), port("fd00::1", 53, 53, kernel.SCTP)}
	b, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	if s := string(b); !strings.Contains(s, `{"hostPort":80,"containerPort":8080,"protocol":"tcp"}`) {
		t.Error(s)
	}
	var got []Port
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got, cmp.Comparer(func(a, b Port) bool { return a == b })); d != "" {
		t.Error(d)
	}
}

func TestClosingTargetsLeavesTheAddressesNextPodAlone(t *testing.T) {
	table := Table()
	pod := addrs("10.0.0.1", "fd00::1")
	next := Targets([]Port{port("", 80, 80, kernel.TCP)}, pod)
	Open(table, next)
	before := table.String()
	first := Targets([]Port{port("", 81, 81, kernel.TCP), port("192.0.2.1", 53, 53, kernel.UDP)}, pod)
	Open(table, first)
	elsewhere := Targets([]Port{port("", 80, 8080, kernel.TCP)}, pod)
	if d := cmp.Diff(first, CloseTargets(table, append(elsewhere, first...)), cmp.Comparer(func(a, b Target) bool { return a == b })); d != "" {
		t.Errorf("closed (-want +got):\n%s", d)
	}
	if d := cmp.Diff(before, table.String()); d != "" {
		t.Errorf("the next pod's ports (-want +got):\n%s", d)
	}
	CloseTargets(table, next)
	if d := cmp.Diff(Table().String(), table.String()); d != "" {
		t.Errorf("hairpin entries of an address without ports (-want +got):\n%s", d)
	}
	CloseTargets(&kernel.Table{}, next) // must not mind
}
