package kernel

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func TestSnapshotIsNilWithoutTable(t *testing.T) {
	s := newNftSpace(t)
	if got := s.snapshot(); got != nil {
		t.Fatalf("got %s", got)
	}
	s.nft("add table ip ropeway; add table inet other; add chain inet other x { type filter hook input priority 0; }")
	if got := s.snapshot(); got != nil {
		t.Fatalf("got %s", got)
	}
}

func TestAppliedTableReadsBackEqual(t *testing.T) {
	for name, table := range sampleTables() {
		t.Run(name, func(t *testing.T) {
			newNftSpace(t).reach(table)
		})
	}
}

// What the kernel holds must not depend on whether the plan was applied or
// pasted into a shell.
func TestPastedScriptGivesTheSameTable(t *testing.T) {
	for name, table := range sampleTables() {
		t.Run(name, func(t *testing.T) {
			applied, pasted := newNftSpace(t), newNftSpace(t)
			op := diffTable(nil, table)
			applied.apply(op)
			pasted.run("", "sh", "-ec", op.String())
			pasted.holds(table)
			list := []string{"nft", "list", "table", "inet", TableName}
			if d := cmp.Diff(pasted.run("", list...), applied.run("", list...)); d != "" {
				t.Errorf("nft list table (-pasted +applied):\n%s", d)
			}
			if d := cmp.Diff(pasted.rawRules(), applied.rawRules()); d != "" {
				t.Errorf("expressions (-pasted +applied):\n%s", d)
			}
		})
	}
}

// A rule that nft lists must be the text that we print, but for numbers that
// nft has names for.
func TestRulesPrintAsNftListsThem(t *testing.T) {
	s := newNftSpace(t)
	table := sampleTables()["every statement"]
	s.apply(diffTable(nil, table))
	listed := s.run("", "nft", "--numeric-protocol", "--stateless", "list", "table", "inet", TableName)
	for name, chain := range table.Chains {
		for _, r := range chain.Rules {
			if !strings.Contains(listed, "\t\t"+r.String()+"\n") {
				t.Errorf("chain %s: nft does not list\n%s\nbut\n%s", name, r, listed)
			}
		}
	}
}

func TestDiffRepairsForeignDamage(t *testing.T) {
	const table = "inet ropeway"
	for name, damage := range map[string]string{
		"table deleted":             "delete table " + table,
		"table flushed":             "flush table " + table,
		"table dormant":             "add table " + table + " { flags dormant; }",
		"rule inserted":             "insert rule " + table + " prerouting-raw ip saddr 10.0.0.1 drop",
		"rule appended":             "add rule " + table + " postrouting-nat accept",
		"rule with anonymous set":   "insert rule " + table + " prerouting-raw ip saddr { 10.0.0.1, 10.0.0.9 } accept",
		"rule with anonymous chain": "insert rule " + table + " prerouting-raw ip saddr 10.0.0.1 jump { accept; }",
		"rule deleted":              "flush chain " + table + " postrouting-nat",
		"element deleted":           "delete element " + table + " pods4 { 10.244.2.0/24 }",
		"element added":             "add element " + table + " pods4 { 10.9.0.0/16, 0.0.0.0/8 }",
		"wider element instead":     "delete element " + table + " pods4 { 10.244.1.0/24, 10.244.2.0/24 }; add element " + table + " pods4 { 10.244.0.0/16 }",
		"range added":               "add element " + table + " pods4 { 10.9.0.1-10.9.0.5 }",
		"everything added":          "add element " + table + " nodes4 { * }",
		"set flushed":               "flush set " + table + " nodes4",
		"set added":                 "add set " + table + " mine { type inet_service; }",
		"set of concatenations":     "add set " + table + " mine { type ipv4_addr . inet_service; flags interval; }",
		"map to a chain":            "add chain " + table + " mine; add map " + table + " verdicts { type ipv4_addr : verdict; }; add element " + table + " verdicts { 10.0.0.1 : jump mine }; add rule " + table + " prerouting-raw ip saddr vmap @verdicts",
		"set of another type": "flush chain " + table + " prerouting-raw; flush chain " + table + " output-raw; delete set " + table + " nodes4; " +
			"add set " + table + " nodes4 { type ipv4_addr; size 2; }; add rule " + table + " prerouting-raw ip saddr @nodes4 drop",
		"chain deleted":         "flush chain " + table + " output-raw; delete chain " + table + " output-raw",
		"chain added":           "add chain " + table + " mine { type filter hook input priority 0; }; add rule " + table + " mine drop",
		"chains that jump":      "add chain " + table + " a; add chain " + table + " b; add rule " + table + " a jump b; add rule " + table + " prerouting-raw jump a",
		"chain policy":          "add chain " + table + " prerouting-raw { policy drop; }",
		"chain with other hook": "flush chain " + table + " output-raw; delete chain " + table + " output-raw; add chain " + table + " output-raw { type filter hook input priority -300; }",
		"chain with other prio": "flush chain " + table + " output-raw; delete chain " + table + " output-raw; add chain " + table + " output-raw { type filter hook output priority 5; policy drop; }",
		"chain without hook":    "flush chain " + table + " output-raw; delete chain " + table + " output-raw; add chain " + table + " output-raw",
	} {
		t.Run(name, func(t *testing.T) {
			s := newNftSpace(t)
			want := sampleTables()["vxlan dual stack"]
			s.reach(want)
			s.nft(strings.ReplaceAll(damage, "; ", "\n"))
			op := diffTable(s.snapshot(), want)
			if op == nil {
				t.Fatal("the damage was not seen")
			}
			s.apply(op)
			s.holds(want)

			// The same repair as a script.
			s.reach(want)
			s.nft(strings.ReplaceAll(damage, "; ", "\n"))
			s.run("", "sh", "-ec", diffTable(s.snapshot(), want).String())
			s.holds(want)
		})
	}
}

// An expression that google/nftables does not know must not be overlooked.
func TestRuleWithOneMoreMatchIsNotTaken(t *testing.T) {
	for _, more := range []string{
		"socket transparent 1", "rt classid 1", "osf name \"Linux\"", "limit rate 1/second", "ip ttl 1", "meta mark 1",
		"ip saddr != 10.0.0.1", "meta l4proto tcp", "ct state new", "iif lo", "ip daddr & 255.0.0.0 == 10.0.0.0",
	} {
		t.Run(more, func(t *testing.T) {
			s := newNftSpace(t)
			want := &Table{Chains: map[string]Chain{"c": {Type: FilterChain, Hook: Prerouting, Priority: -300,
				Rules: []Rule{{Statements: []Statement{FromPodLink{}, Counter{}, Drop{}}}}}}}
			s.reach(want)
			s.nft("flush chain inet ropeway c\nadd rule inet ropeway c iifname \"rwp*\" " + more + " counter drop")
			if diffTable(s.snapshot(), want) == nil {
				t.Error("rule was taken for ours")
			}
			s.reach(want)
		})
	}
}

func TestTenThousandPrefixesMakeTheRoundTrip(t *testing.T) {
	s := newNftSpace(t)
	want := &Table{Sets: map[string]Set{
		"pods4":  {Type: IPv4Addr, Interval: true, Elements: map[netip.Prefix]struct{}{}},
		"pods6":  {Type: IPv6Addr, Interval: true, Elements: map[netip.Prefix]struct{}{}},
		"nodes4": {Type: IPv4Addr, Elements: map[netip.Prefix]struct{}{}},
		"nodes6": {Type: IPv6Addr, Elements: map[netip.Prefix]struct{}{}},
	}}
	for i := range 10000 {
		hi, lo := byte(i>>8), byte(i)
		want.Sets["pods4"].Elements[netip.PrefixFrom(netip.AddrFrom4([4]byte{10, hi, lo, 0}), 24)] = struct{}{}
		want.Sets["pods6"].Elements[netip.PrefixFrom(netip.AddrFrom16([16]byte{0: 0xfd, 6: hi, 7: lo}), 64)] = struct{}{}
		want.Sets["nodes4"].Elements[netip.PrefixFrom(netip.AddrFrom4([4]byte{172, 16, hi, lo}), 32)] = struct{}{}
		want.Sets["nodes6"].Elements[netip.PrefixFrom(netip.AddrFrom16([16]byte{0: 0xfd, 14: hi, 15: lo}), 128)] = struct{}{}
	}
	start := time.Now()
	s.apply(diffTable(nil, want))
	applied := time.Now()
	s.holds(want)
	t.Logf("40,000 elements: apply %v, read and compare %v", applied.Sub(start), time.Since(applied))
	for _, set := range want.Sets {
		n := 0
		for p := range set.Elements {
			if n++; n%2 == 0 {
				delete(set.Elements, p)
			}
		}
	}
	s.reach(want)
}

// Any sequence of states can be reached, also where prefixes widen, narrow
// and touch each other in one transaction.
func TestAnyTableCanFollowAnyOther(t *testing.T) {
	s := newNftSpace(t)
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range 150 {
		want := randomTable(rng)
		if i%10 == 9 {
			want = nil
		}
		op := diffTable(s.snapshot(), want)
		if op != nil && i%3 == 0 {
			s.run("", "sh", "-ec", op.String())
		} else if op != nil {
			s.apply(op)
		}
		s.holds(want)
	}
}

func TestChangeIsAllOrNothing(t *testing.T) {
	s := newNftSpace(t)
	want := sampleTables()["vxlan dual stack"]
	s.reach(want)
	var broken TableChange
	broken.add(nftFlushChain{"prerouting-raw"}, nftDeleteElements{"nodes4", IPv4Addr, false, prefixes("192.0.2.200/32")})
	err := s.try(broken)
	if !errors.Is(err, unix.ENOENT) {
		t.Fatalf("got %v, want ENOENT", err)
	}
	s.holds(want)
}

func TestDeletingATableThatIsGoneSucceeds(t *testing.T) {
	s := newNftSpace(t)
	op := diffTable(&Table{}, nil)
	s.apply(op)
	s.run("", "sh", "-ec", op.String())
	s.holds(nil)
}

func TestApplyAndSnapshotEndWithTheirContext(t *testing.T) {
	s := newNftSpace(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := applyTable(ctx, s.ns, diffTable(nil, &Table{}).(TableChange)); !errors.Is(err, context.Canceled) {
		t.Errorf("apply: got %v", err)
	}
	if _, err := snapshotTable(ctx, s.ns); !errors.Is(err, context.Canceled) {
		t.Errorf("snapshot: got %v", err)
	}
	s.holds(nil)
}

// Somebody else's transactions in the namespace must not tear a snapshot.
func TestSnapshotIsConsistentUnderForeignTraffic(t *testing.T) {
	s := newNftSpace(t)
	want := sampleTables()["vxlan dual stack"]
	s.reach(want)
	other := want.clone()
	other.Sets["nodes4"] = Set{IPv4Addr, false, nil}
	other.Chains["output-raw"] = bare(other.Chains["output-raw"])
	there, back := diffTable(want, other), diffTable(other, want)
	done := make(chan error, 1)
	stop := make(chan struct{})
	go func() {
		for {
			select {
			case <-stop:
				done <- nil
				return
			default:
			}
			if err := errors.Join(s.try(there), s.try(back)); err != nil {
				done <- err
				return
			}
		}
	}()
	refused := 0
	const reads = 100
	for range reads {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		got, err := snapshotTable(ctx, s.ns)
		cancel()
		if errors.Is(err, errInterrupted) {
			refused++ // which is right as well, now and then
			continue
		}
		if err != nil {
			t.Error(err)
			break
		}
		if !got.equal(want) && !got.equal(other) {
			t.Errorf("torn snapshot:\n%s", got)
			break
		}
	}
	if refused > reads/2 {
		t.Errorf("%d of %d snapshots were refused", refused, reads)
	}
	close(stop)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestErrorsSayWhatToDo(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want string
	}{
		{explainUnsupported(unix.EINVAL), "modprobe nf_tables"},
		{explainUnsupported(unix.EPROTONOSUPPORT), "modprobe nf_tables"},
		{explainUnsupported(unix.EPERM), "CAP_NET_ADMIN"},
		{explainChange(fmt.Errorf("conn.Receive: %w", unix.ENOENT)), "nft_fib_inet"},
		{explainChange(unix.EBUSY), "nft list table inet ropeway"},
	} {
		if !strings.Contains(tt.err.Error(), tt.want) {
			t.Errorf("%v does not mention %q", tt.err, tt.want)
		}
	}
}

func BenchmarkSnapshotTable(b *testing.B) {
	s := newNftSpace(b)
	s.reach(sampleTables()["vxlan dual stack"])
	for b.Loop() {
		s.snapshot()
	}
}
