package kernel

import (
	"maps"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestTableChangePrintsAsNftScript(t *testing.T) {
	table := &Table{
		Sets: map[string]Set{
			"pods4":  {IPv4Addr, true, elementsOf("10.244.2.0/24", "10.244.1.0/24", "10.9.8.7/32")},
			"nodes6": {IPv6Addr, false, elementsOf("fd00::1/128")},
			"none4":  {IPv4Addr, false, nil},
		},
		Chains: map[string]Chain{
			"prerouting-raw": {Type: FilterChain, Hook: Prerouting, Priority: -300, Rules: []Rule{
				rule("no spoofing", FromPodLink{}, IPv4Packet{}, NoReturnPath{}, Counter{}, Drop{}),
			}},
			"postrouting-nat": {Type: NATChain, Hook: Postrouting, Priority: 100, Policy: PolicyDrop},
		},
	}
	const want = `nft -f - <<'EOF'
add table inet ropeway
add set inet ropeway nodes6 { type ipv6_addr; }
add element inet ropeway nodes6 { fd00::1 }
add set inet ropeway none4 { type ipv4_addr; }
add set inet ropeway pods4 { type ipv4_addr; flags interval; }
add element inet ropeway pods4 { 10.9.8.7, 10.244.1.0/24, 10.244.2.0/24 }
add chain inet ropeway postrouting-nat { type nat hook postrouting priority 100; policy drop; }
add chain inet ropeway prerouting-raw { type filter hook prerouting priority -300; policy accept; }
add rule inet ropeway prerouting-raw iifname "rwp*" meta nfproto ipv4 fib saddr . iif oif missing counter drop comment "no spoofing"
EOF`
	if d := cmp.Diff(want, diffTable(nil, table).String()); d != "" {
		t.Error(d)
	}
}

func TestDiffWritesOnlyWhatDiffers(t *testing.T) {
	base := func() *Table { return sampleTables()["vxlan dual stack"] }
	for _, tt := range []struct {
		name   string
		change func(*Table) // of the actual table
		want   []string
	}{
		{"nothing", func(*Table) {}, nil},
		{"spelling that the kernel does not keep", func(t *Table) {
			c := t.Chains["output-raw"]
			c.Rules[0].Statements = append([]Statement{L4Proto{17}}, c.Rules[0].Statements...)
		}, nil},
		{"elements", func(t *Table) {
			delete(t.Sets["pods4"].Elements, netip.MustParsePrefix("10.244.2.0/24"))
			t.Sets["pods4"].Elements[netip.MustParsePrefix("10.244.2.0/23")] = struct{}{}
		}, []string{
			"delete element inet ropeway pods4 { 10.244.2.0/23 }",
			"add element inet ropeway pods4 { 10.244.2.0/24 }",
		}},
		{"policy", func(t *Table) {
			c := t.Chains["output-raw"]
			c.Policy = PolicyDrop
			t.Chains["output-raw"] = c
		}, []string{
			"add chain inet ropeway output-raw { type filter hook output priority -300; policy accept; }",
		}},
		{"one rule", func(t *Table) {
			t.Chains["output-raw"].Rules[0].Comment = "x"
		}, []string{
			"flush chain inet ropeway output-raw",
			"add rule inet ropeway output-raw udp dport 4789 ip daddr @nodes4 notrack",
		}},
		{"priority", func(t *Table) {
			c := t.Chains["output-raw"]
			c.Priority++
			t.Chains["output-raw"] = c
		}, []string{
			"flush chain inet ropeway output-raw",
			"delete chain inet ropeway output-raw",
			"add chain inet ropeway output-raw { type filter hook output priority -300; policy accept; }",
			"add rule inet ropeway output-raw udp dport 4789 ip daddr @nodes4 notrack",
		}},
		{"set type, with the chains that use it", func(t *Table) {
			s := t.Sets["direct-nodes4"]
			s.Type = "ipv4_addr (ranges)"
			t.Sets["direct-nodes4"] = s
		}, []string{
			"flush chain inet ropeway postrouting-nat",
			"delete set inet ropeway direct-nodes4",
			"add set inet ropeway direct-nodes4 { type ipv4_addr; }",
			"add rule inet ropeway postrouting-nat ip saddr @local-pods4 ip daddr != @pods4 ip daddr != @direct-nodes4 masquerade fully-random",
			"add rule inet ropeway postrouting-nat ip6 saddr @local-pods6 ip6 daddr != @pods6 masquerade fully-random",
		}},
		{"unknown objects", func(t *Table) {
			t.Sets["theirs"] = Set{Type: "13 (flags 0x0, size 0)"}
			t.Chains["theirs"] = Chain{Rules: []Rule{rule("", Unrecognised{"payload lookup @theirs"})}}
		}, []string{
			"flush chain inet ropeway theirs",
			"delete set inet ropeway theirs",
			"delete chain inet ropeway theirs",
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			actual := base()
			tt.change(actual)
			var got []string
			if op := diffTable(actual, base()); op != nil {
				for _, command := range op.(TableChange).commands {
					got = append(got, command.String())
				}
			}
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestDormantTableIsReplacedWhole(t *testing.T) {
	actual := sampleTables()["vxlan dual stack"]
	want := actual.clone()
	actual.Flags = "dormant"
	got := diffTable(actual, want).String()
	if !strings.HasPrefix(got, "nft -f - <<'EOF'\ndelete table inet ropeway\nadd table inet ropeway\n") {
		t.Error(got)
	}
}

// The memory is as strict as the kernel, so that this also proves the order of
// the commands.
func TestApplyingTheDiffGivesDesired(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	actual := (*Table)(nil)
	for i := range 5000 {
		desired := randomTable(rng)
		switch {
		case i%7 == 6:
			desired = nil
		case i%3 == 0 && actual != nil:
			litter(rng, actual)
		}
		before := actual.String()
		op := diffTable(actual, desired)
		if op == nil {
			if before != desired.String() {
				t.Fatalf("no change from\n%s\nto\n%s", before, desired)
			}
			continue
		}
		next, err := op.(TableChange).apply(actual)
		if err != nil {
			t.Fatalf("from\n%s\nto\n%s\nby\n%s\n%v", before, desired, op, err)
		}
		if actual.String() != before {
			t.Fatal("apply changed its input")
		}
		if d := cmp.Diff(desired.String(), next.String()); d != "" {
			t.Fatalf("by\n%s\n(-want +got)\n%s", op, d)
		}
		if again := diffTable(next, desired); again != nil {
			t.Fatalf("a second plan is not empty:\n%s", again)
		}
		actual = next
	}
}

// litter adds to a table what only somebody else would.
func litter(rng *rand.Rand, t *Table) {
	switch rng.IntN(5) {
	case 0:
		t.Flags = "dormant"
	case 1:
		t.Sets["theirs"] = Set{Type: "13 (flags 0x0, size 0)"}
		for name, c := range t.Chains {
			c.Rules = append(c.Rules, rule("", Unrecognised{"payload lookup @theirs immediate"}))
			t.Chains[name] = c
		}
	case 2:
		for name, s := range t.Sets {
			s.Type += " (ranges)"
			s.Elements = nil
			t.Sets[name] = s
		}
		for name, m := range t.Maps {
			delete(t.Maps, name)
			t.Sets[name] = Set{Type: SetType(m.Type)}
		}
	case 3:
		t.Chains["theirs"] = Chain{Rules: []Rule{rule("", Drop{})}}
	case 4:
		for name, c := range t.Chains {
			t.Chains[name] = Chain{Rules: c.Rules}
		}
	}
}

func TestCloneSharesNothing(t *testing.T) {
	table := withHostPorts(sampleTables()["vxlan dual stack"])
	before := table.String()
	c := table.clone()
	if !c.equal(table) {
		t.Fatal("a clone differs")
	}
	for name, chain := range c.Chains {
		for i := range chain.Rules {
			chain.Rules[i].Comment = "x"
			chain.Rules[i].Statements[0] = Unrecognised{}
		}
		delete(c.Chains, name)
	}
	for name, s := range c.Sets {
		maps.DeleteFunc(s.Elements, func(netip.Prefix, struct{}) bool { return true })
		delete(c.Sets, name)
	}
	for _, m := range c.Maps {
		clear(m.Elements)
	}
	if table.String() != before {
		t.Error("the original changed with its clone")
	}
	if c.equal(table) || table.equal(nil) || !(*Table)(nil).equal(nil) {
		t.Error("equal does not tell tables apart")
	}
}

func TestApplyRefusesWhatTheKernelRefuses(t *testing.T) {
	base := withHostPorts(sampleTables()["vxlan dual stack"])
	raw, nat := Chain{Type: FilterChain, Hook: Output}, Chain{Type: NATChain, Hook: Postrouting, Priority: 100}
	for _, tt := range []struct {
		name    string
		command tableCommand
		want    string
	}{
		{"set of odd type", nftAddSet{"x", "inet_service", false}, "none of addresses"},
		{"pairs of intervals", nftAddSet{"x", IPv4Pair, true}, "no intervals"},
		{"set named as a map", nftAddSet{"host-ports4", IPv4Addr, false}, "a map of that name"},
		{"map named as a set", nftAddMap{"pods4", PortMap4}, "a set of that name"},
		{"map of odd type", nftAddMap{"x", "mark : verdict"}, "not known"},
		{"map of other type", nftAddMap{"host-ports4", PortMap6}, "exists"},
		{"map in use", nftDeleteMap{"host-ports4"}, "in use by chain host-ports"},
		{"unknown map, delete", nftDeleteMap{"x"}, "no such map"},
		{"unknown map", nftAddMapElements{"x", PortMap4, nil, nil}, "no such map"},
		{"unknown map, delete element", nftDeleteMapElement{"x", PortMap4, PortKey{}}, "no such map"},
		{"unknown element of a map", nftDeleteMapElement{"host-ports4", PortMap4, PortKey{Protocol: TCP, Port: 81}}, "no such element"},
		{"another value for a key", addPort("host-ports4", PortMap4, "", TCP, 80, "10.244.1.9:80"), "exists"},
		{"value of the other family", addPort("host-ports4", PortMap4, "", TCP, 81, "[fd00::1]:80"), "fit"},
		{"IPv4-mapped value", addPort("host-ports6", PortMap6, "", TCP, 81, "[::ffff:10.0.0.1]:80"), "fit"},
		{"key with an address", addPort("host-ports4", PortMap4, "10.0.0.1", TCP, 81, "10.0.0.1:80"), "fit"},
		{"key without an address", addPort("host-ports-on4", AddrPortMap4, "", TCP, 81, "10.0.0.1:80"), "fit"},
		{"dnat in postrouting", nftAddRule{"postrouting-nat", rule("", DNAT{"host-ports4", PortMap4})}, "prerouting or output"},
		{"dnat by a map of other type", nftAddRule{"host-ports", rule("", DNAT{"host-ports4", PortMap6})}, "no map"},
		{"pair of no set", nftAddRule{"postrouting-nat", rule("", ToItself{"x", IPv4Pair})}, "no set"},
		{"set of other type", nftAddSet{"pods4", IPv6Addr, true}, "exists"},
		{"set name", nftAddSet{"4 pods", IPv4Addr, true}, "nft name"},
		{"unknown set", nftAddElements{"x", "", true, prefixes("10.0.0.0/8")}, "no such set"},
		{"unknown set, delete", nftDeleteElements{"x", "", true, nil}, "no such set"},
		{"unknown set, delete whole", nftDeleteSet{"x"}, "no such set"},
		{"set in use", nftDeleteSet{"pods4"}, "in use by chain postrouting-nat"},
		{"overlap", nftAddElements{"pods4", "", true, prefixes("10.244.0.0/16")}, "overlaps"},
		{"host bits", nftAddElements{"pods4", "", true, prefixes("10.8.0.1/16")}, "masked"},
		{"prefix in a set of addresses", nftAddElements{"nodes4", "", false, prefixes("10.8.0.0/16")}, "single addresses"},
		{"other family", nftAddElements{"nodes4", "", false, prefixes("fd00::/128")}, "fit"},
		{"unknown element", nftDeleteElements{"pods4", "", true, prefixes("10.9.0.0/24")}, "no such element"},
		{"chain with other hook", nftAddChain{"output-raw", raw}, "exists"},
		{"chain name", nftAddChain{"", raw}, "nft name"},
		{"chain without hook", nftAddChain{"x", Chain{}}, "no chain of type"},
		{"nat too early", nftAddChain{"x", Chain{Type: NATChain, Hook: Postrouting, Priority: -300}}, "tracked"},
		{"nat in forward", nftAddChain{"x", Chain{Type: NATChain, Hook: Forward}}, "forward"},
		{"unknown chain", nftFlushChain{"x"}, "no such chain"},
		{"unknown chain, delete", nftDeleteChain{"x"}, "no such chain"},
		{"unknown chain, rule", nftAddRule{"x", rule("", Drop{})}, "no such chain"},
		{"rule with unknown set", nftAddRule{"output-raw", rule("", InSet{Saddr, "x", IPv4Addr, false})}, "no set"},
		{"rule with set of other type", nftAddRule{"output-raw", rule("", InSet{Saddr, "pods4", IPv6Addr, false})}, "no set"},
		{"rule without field", nftAddRule{"output-raw", rule("", InSet{"sport", "pods4", IPv4Addr, false})}, "field"},
		{"two families", nftAddRule{"output-raw", rule("", IPv4Packet{}, SpecifiedIPv6Source{})}, "matched"},
		{"two transports", nftAddRule{"output-raw", rule("", L4Proto{4}, UDPDestinationPort{1})}, "matched"},
		{"no return path in output", nftAddRule{"output-raw", rule("", NoReturnPath{})}, "come in"},
		{"masquerade in filter", nftAddRule{"output-raw", rule("", MasqueradeRandom{})}, "nat chain"},
		{"unrecognised", nftAddRule{"output-raw", rule("", Unrecognised{"x"})}, "cannot be written"},
		{"quote in comment", nftAddRule{"output-raw", rule(`a"b`, Drop{})}, "quotes"},
		{"long comment", nftAddRule{"output-raw", rule(strings.Repeat("x", 129), Drop{})}, "128"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var c TableChange
			c.add(nftAddChain{"new", nat}, tt.command)
			got, err := c.apply(base)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want an error with %q", err, tt.want)
			}
			if !got.equal(base) || got.Chains["new"].Hook != "" {
				t.Error("half of the transaction was carried out")
			}
		})
	}
	var c TableChange
	c.add(nftAddSet{"x", IPv4Addr, false})
	if _, err := c.apply(nil); err == nil {
		t.Error("a set was added to no table")
	}
}
