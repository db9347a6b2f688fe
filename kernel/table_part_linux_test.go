package kernel

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestUpdateOfAPartLeavesTheRestAlone(t *testing.T) {
	s := newNftSpace(t)
	want := withHostPorts(sampleTables()["vxlan dual stack"])
	s.reach(want)
	key := portKey("", TCP, 4711)
	part := TablePart{"host-ports4": true}
	to := netip.MustParseAddrPort("10.0.0.1:1")
	err := updateTable(t.Context(), s.ns, part, func(actual *Table) *Table {
		if len(actual.Maps) != 1 || len(actual.Sets) != 0 || len(actual.Chains) != 0 {
			t.Errorf("more than the part was read:\n%s", actual)
		}
		actual.Maps["host-ports4"].Elements[key] = to
		return actual
	})
	if err != nil {
		t.Fatal(err)
	}
	want.Maps["host-ports4"].Elements[key] = to
	s.holds(want)

	err = updateTable(t.Context(), s.ns, part, func(*Table) *Table { return nil })
	if err != nil {
		t.Fatal(err)
	}
	s.holds(want)
}

func TestElementsAreAddedWhereEverythingElseIsInOrder(t *testing.T) {
	s := newNftSpace(t)
	structure := withHostPorts(&Table{}).withoutElements()
	whole := withHostPorts(sampleTables()["vxlan dual stack"])
	key := portKey("", TCP, 4711)
	add := func(to string) bool {
		t.Helper()
		added, err := addElements(t.Context(), s.ns, structure, func(t *Table) {
			t.Maps["host-ports4"].Elements[key] = netip.MustParseAddrPort(to)
		})
		if err != nil {
			t.Fatal(err)
		}
		return added
	}
	if add("10.0.0.1:1") {
		t.Error("added to a table that is not there")
	}
	s.reach(whole)
	if !add("10.0.0.1:1") {
		t.Error("not added to a table that is in order")
	}
	whole.Maps["host-ports4"].Elements[key] = netip.MustParseAddrPort("10.0.0.1:1")
	s.holds(whole)
	if !add("10.0.0.1:1") {
		t.Error("what is there already is refused")
	}
	if add("10.0.0.2:1") {
		t.Error("an element that says something else was replaced, or is said to be")
	}
	s.holds(whole)
	s.nft("flush chain inet ropeway host-ports")
	if add("10.0.0.1:1") {
		t.Error("added beside a chain that has lost its rules")
	}
	s.nft("flush map inet ropeway host-ports4; delete chain inet ropeway host-ports")
	if add("10.0.0.1:1") {
		t.Error("added beside a chain that is gone")
	}
}

func TestUpdateMakesTheTableAndSparesADormantOne(t *testing.T) {
	s := newNftSpace(t)
	want := withHostPorts(&Table{})
	part := PartOf(want)
	update := func() {
		t.Helper()
		if err := updateTable(t.Context(), s.ns, part, func(*Table) *Table { return want.clone() }); err != nil {
			t.Fatal(err)
		}
	}
	update()
	s.holds(want)
	s.nft("add set inet ropeway theirs { type ipv4_addr; }\nadd table inet ropeway { flags dormant; }\nflush chain inet ropeway host-ports")
	update()
	got := s.snapshot()
	if _, kept := got.Sets["theirs"]; !kept || got.Flags != "dormant" {
		t.Errorf("the table was replaced:\n%s", got)
	}
	if d := cmp.Diff(len(want.Chains["host-ports"].Rules), len(got.Chains["host-ports"].Rules)); d != "" {
		t.Error(d)
	}
}

// Many at once, each with an element of its own and one that all want: each
// must find its own there in the end, whoever came between.
func TestUpdatesAtTheSameTimeAllCount(t *testing.T) {
	s := newNftSpace(t)
	const writers = 8
	var group sync.WaitGroup
	errs := make(chan error, writers)
	for i := range writers {
		group.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
			defer cancel()
			errs <- updateTable(ctx, s.ns, TablePart{"ports": true}, func(actual *Table) *Table {
				if actual == nil || actual.Maps["ports"].Type == "" {
					actual = &Table{Maps: map[string]Map{"ports": {PortMap4, map[PortKey]netip.AddrPort{}}}}
				}
				actual.Maps["ports"].Elements[portKey("", UDP, uint16(1+i))] = netip.MustParseAddrPort("10.0.0.1:1")
				actual.Maps["ports"].Elements[portKey("", UDP, 100)] = netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}), 1)
				return actual
			})
		})
	}
	group.Wait()
	close(errs)
	for err := range errs {
		if err != nil {
			t.Error(err)
		}
	}
	elements := s.snapshot().Maps["ports"].Elements
	for i := range writers {
		if _, ok := elements[portKey("", UDP, uint16(1+i))]; !ok {
			t.Errorf("the element of writer %d is lost", i)
		}
	}
	if len(elements) != writers+1 {
		t.Errorf("%d elements: %v", len(elements), elements)
	}
}

func TestUpdateEndsWithItsContext(t *testing.T) {
	s := newNftSpace(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	err := updateTable(ctx, s.ns, TablePart{}, func(*Table) *Table { return &Table{} })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestForgetUDPForgetsWhatMatchesAndNothingElse(t *testing.T) {
	s := newNftSpace(t)
	s.run("", "ip", "link", "set", "lo", "up")
	s.nft("add table inet t\nadd chain inet t o { type nat hook output priority -100; }\n" +
		"add rule inet t o udp dport 1001 dnat ip to 127.0.0.1:2001\nadd rule inet t o udp dport 1003 dnat ip6 to [::1]:2003")
	for _, port := range []int{1001, 1002, 1003, 1004} {
		for _, to := range []string{"127.0.0.1", "::1"} {
			s.run("", "bash", "-c", fmt.Sprintf("echo >/dev/udp/%s/%d", to, port))
		}
	}
	s.run("", "bash", "-c", "echo >/dev/tcp/127.0.0.1/1001 || true")
	seen := map[string]int{}
	n, err := forgetUDP(t.Context(), s.ns, func(f Flow) bool {
		text := fmt.Sprint(f.To, " ", f.From, " ", f.Translated())
		seen[text]++
		return f.Translated() || f.To.Port() == 1004
	})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]int{
		"127.0.0.1:1001 127.0.0.1:2001 true": 1, "[::1]:1001 [::1]:1001 false": 1,
		"127.0.0.1:1002 127.0.0.1:1002 false": 1, "[::1]:1002 [::1]:1002 false": 1,
		"127.0.0.1:1003 127.0.0.1:1003 false": 1, "[::1]:1003 [::1]:2003 true": 1,
		"127.0.0.1:1004 127.0.0.1:1004 false": 1, "[::1]:1004 [::1]:1004 false": 1,
	}
	if d := cmp.Diff(want, seen); d != "" || n != 4 {
		t.Errorf("%d forgotten (-want +seen):\n%s", n, d)
	}
	clear(seen)
	if n, err = forgetUDP(t.Context(), s.ns, func(f Flow) bool { seen[f.To.String()]++; return false }); err != nil || n != 0 {
		t.Errorf("%d forgotten, error %v", n, err)
	}
	if len(seen) != 4 {
		t.Errorf("left: %v", seen)
	}
}

// Two that find no table both make it: the second comes while the first is
// between reading and writing.
func TestTwoThatMakeTheTableAtOnceMakeEachRuleOnce(t *testing.T) {
	s := newNftSpace(t)
	want := withHostPorts(&Table{})
	part := PartOf(want)
	other := func() {
		if err := updateTable(t.Context(), s.ns, part, func(*Table) *Table { return want.clone() }); err != nil {
			t.Error(err)
		}
	}
	var once sync.Once
	err := updateTable(t.Context(), s.ns, part, func(*Table) *Table {
		once.Do(other)
		return want.clone()
	})
	if err != nil {
		t.Fatal(err)
	}
	s.holds(want)
}
