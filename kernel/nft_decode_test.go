package kernel

import (
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// ruleMessage is what the kernel lists for a rule, near enough.
func ruleMessage(tb testing.TB, r Rule) []byte {
	tb.Helper()
	exprs, err := encodeRule(r)
	if err != nil {
		tb.Fatalf("%s: %v", r, err)
	}
	var list []netlink.Attribute
	for _, e := range exprs {
		data, err := expr.Marshal(byte(nftables.TableFamilyINet), e)
		if err != nil {
			tb.Fatal(err)
		}
		list = append(list, netlink.Attribute{Type: unix.NLA_F_NESTED | unix.NFTA_LIST_ELEM, Data: data})
	}
	return message(tb,
		nameAttribute(unix.NFTA_RULE_CHAIN, "chain"),
		netlink.Attribute{Type: unix.NLA_F_NESTED | unix.NFTA_RULE_EXPRESSIONS, Data: attributes(tb, list...)},
		netlink.Attribute{Type: unix.NFTA_RULE_USERDATA, Data: userdata.AppendString(nil, userdata.TypeComment, r.Comment)})
}

func message(tb testing.TB, list ...netlink.Attribute) []byte {
	return append(make([]byte, nfgenmsgLen), attributes(tb, list...)...)
}

func attributes(tb testing.TB, list ...netlink.Attribute) []byte {
	tb.Helper()
	b, err := netlink.MarshalAttributes(list)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

func TestDecodingGivesBackEveryRule(t *testing.T) {
	for name, table := range sampleTables() {
		for chain, c := range table.Chains {
			for _, r := range c.Rules {
				got, err := decodeListedRule(ruleMessage(t, r), anyChain)
				if err != nil {
					t.Fatal(err)
				}
				want := listedRule{"chain", Rule{r.Comment, canonical(r.Statements)}}
				if d := cmp.Diff(want, got, cmp.AllowUnexported(listedRule{})); d != "" {
					t.Errorf("%s, %s: %s", name, chain, d)
				}
			}
		}
	}
}

func TestDecodingGivesBackRandomRules(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	vocabulary := []Statement{
		FromPodLink{}, IPv4Packet{}, SpecifiedIPv6Source{}, NoReturnPath{}, LocalDestination{},
		UDPDestinationPort{53}, UDPDestinationPort{4789}, L4Proto{17}, L4Proto{4},
		InSet{Saddr, "a", IPv4Addr, false}, InSet{Daddr, "b", IPv4Addr, true},
		InSet{Saddr, "c", IPv6Addr, true}, InSet{Daddr, "d", IPv6Addr, false},
		Counter{}, Drop{}, Accept{}, Notrack{}, MasqueradeRandom{},
		ToItself{"e", IPv4Pair}, ToItself{"f", IPv6Pair}, ToPodLink{}, FromLoopback{}, ToLoopback{},
		DNAT{"g", PortMap4}, DNAT{"h", PortMap6}, DNAT{"i", AddrPortMap4}, DNAT{"j", AddrPortMap6},
	}
	encodable := 0
	for range 20000 {
		var r Rule
		for range 1 + rng.IntN(6) {
			r.Statements = append(r.Statements, vocabulary[rng.IntN(len(vocabulary))])
		}
		if _, err := encodeRule(r); err != nil {
			continue
		}
		encodable++
		got, err := decodeListedRule(ruleMessage(t, r), anyChain)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(canonical(r.Statements), got.rule.Statements); d != "" {
			t.Fatalf("%s: %s", r, d)
		}
	}
	if encodable < 1000 {
		t.Errorf("only %d rules were encodable", encodable)
	}
}

func TestIntervalsDecodeToPrefixesInAnyOrder(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 8))
	for range 2000 {
		s := randomSet(rng)
		var listed []listedElement
		for _, e := range encodeElements(&nftables.Set{Interval: s.Interval}, sortedPrefixes(s.Elements), s.Type) {
			listed = append(listed, listedElement{key: e.Key, end: e.IntervalEnd})
		}
		elements := addresses(listed, s.Type)
		rng.Shuffle(len(elements), func(i, j int) { elements[i], elements[j] = elements[j], elements[i] })
		got, ok := decodeElements(elements, s.Type, s.Interval)
		if d := cmp.Diff(sortedPrefixes(s.Elements), sortedPrefixes(got), cmp.Comparer(samePrefix)); !ok || d != "" {
			t.Fatalf("ok %t: %s", ok, d)
		}
	}
}

func samePrefix(a, b netip.Prefix) bool { return a == b }

func TestElementsThatAreNoPrefixesAreRefused(t *testing.T) {
	at := func(s string) netip.Addr { return netip.MustParseAddr(s) }
	for name, elements := range map[string][]setElement{
		"range":            {{at("10.0.0.1"), false}, {at("10.0.0.6"), true}},
		"range to the end": {{at("255.255.255.253"), false}},
		"unaligned":        {{at("10.0.0.128"), false}, {at("10.0.1.128"), true}},
		"two starts":       {{at("10.0.0.0"), false}, {at("10.0.1.0"), false}},
		"other family":     {{at("fd00::"), false}},
		"everything":       {{netip.Addr{}, false}},
	} {
		if got, ok := decodeElements(elements, IPv4Addr, true); ok {
			t.Errorf("%s: decoded to %v", name, got)
		}
	}
	if got, ok := decodeElements([]setElement{{at("10.0.0.1"), true}}, IPv4Addr, false); ok {
		t.Errorf("an end in a plain set decoded to %v", got)
	}
}

func TestSetsThatAreNotPlainAreOfAnotherType(t *testing.T) {
	u32 := func(typ uint16, v byte) netlink.Attribute {
		return netlink.Attribute{Type: typ, Data: []byte{0, 0, 0, v}}
	}
	size := netlink.Attribute{Type: unix.NLA_F_NESTED | unix.NFTA_SET_DESC,
		Data: attributes(t, u32(unix.NFTA_SET_DESC_SIZE, 2))}
	base := []netlink.Attribute{u32(unix.NFTA_SET_KEY_TYPE, keyTypeIPv4), u32(unix.NFTA_SET_KEY_LEN, 4)}
	for name, more := range map[string]netlink.Attribute{
		"map without values": u32(unix.NFTA_SET_FLAGS, unix.NFT_SET_MAP), "timeout": u32(unix.NFTA_SET_FLAGS, unix.NFT_SET_TIMEOUT),
		"constant": u32(unix.NFTA_SET_FLAGS, unix.NFT_SET_CONSTANT), "size": size,
		"key type": u32(unix.NFTA_SET_KEY_TYPE, 13), "key length": u32(unix.NFTA_SET_KEY_LEN, 16),
	} {
		s, err := decodeSet(message(t, append(base, more)...))
		if err != nil || s.set.Type == IPv4Addr || s.set.Type == IPv6Addr {
			t.Errorf("%s: type %s, error %v", name, s.set.Type, err)
		}
	}
	if s, err := decodeSet(message(t, base...)); err != nil || s.set.Type != IPv4Addr {
		t.Errorf("plain set: type %s, error %v", s.set.Type, err)
	}
}

func FuzzDecodeListsWithoutPanic(f *testing.F) {
	for _, table := range sampleTables() {
		for _, c := range table.Chains {
			for _, r := range c.Rules {
				f.Add(ruleMessage(f, r))
			}
		}
	}
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, message []byte) {
		r, err := decodeListedRule(message, anyChain)
		if err == nil && len(r.rule.Statements) > 0 {
			// Whatever is recognised whole can be written again.
			if _, last := r.rule.Statements[len(r.rule.Statements)-1].(Unrecognised); !last {
				if _, err := encodeRule(Rule{Statements: r.rule.Statements}); err != nil {
					t.Error(err)
				}
			}
		}
		if elements, err := decodeElementList(message); err == nil {
			decodeElements(addresses(elements, IPv4Addr), IPv4Addr, true)
			decodeElements(addresses(elements, IPv6Pair), IPv6Pair, false)
			for _, typ := range mapTypes() {
				if ports, ok := decodeMapElements(elements, typ); ok {
					roundTrip(t, typ, ports)
				}
			}
		}
		_, _ = decodeSet(message)
		_, _ = decodeChain(message)
		_, _ = decodeTableFlags(message)
		_, _ = decodeGeneration(message)
		decodeComment(message)
	})
}
