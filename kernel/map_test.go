package kernel

import (
	"encoding/binary"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

func TestMapsPrintAsNftListsThem(t *testing.T) {
	table := withHostPorts(&Table{})
	table.Chains = nil
	const want = `add table inet ropeway
add set inet ropeway hairpin4 { type ipv4_addr . ipv4_addr; }
add element inet ropeway hairpin4 { 10.244.1.5 . 10.244.1.5, 10.244.1.7 . 10.244.1.7 }
add set inet ropeway hairpin6 { type ipv6_addr . ipv6_addr; }
add element inet ropeway hairpin6 { fd00:244:0:1::5 . fd00:244:0:1::5 }
add set inet ropeway other4 { type ipv4_addr; }
add element inet ropeway other4 { 10.96.0.1 }
add map inet ropeway host-ports-on4 { type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service; }
add element inet ropeway host-ports-on4 { 127.0.0.1 . tcp . 80 : 10.244.1.7 . 80, 172.31.1.11 . udp . 53 : 10.244.1.7 . 53 }
add map inet ropeway host-ports-on6 { type ipv6_addr . inet_proto . inet_service : ipv6_addr . inet_service; }
add element inet ropeway host-ports-on6 { fd00::11 . sctp . 9 : fd00:244:0:1::7 . 9 }
add map inet ropeway host-ports4 { type inet_proto . inet_service : ipv4_addr . inet_service; }
add element inet ropeway host-ports4 { tcp . 80 : 10.244.1.5 . 8080, udp . 80 : 10.244.1.6 . 53, 47 . 1 : 255.255.255.255 . 65535, sctp . 65535 : 10.244.1.5 . 1 }
add map inet ropeway host-ports6 { type inet_proto . inet_service : ipv6_addr . inet_service; }
add element inet ropeway host-ports6 { tcp . 80 : fd00:244:0:1::5 . 8080 }
add map inet ropeway none { type ipv6_addr . inet_proto . inet_service : ipv6_addr . inet_service; }
`
	if d := cmp.Diff(want, table.String()); d != "" {
		t.Error(d)
	}
}

// What plugins delete at the same time must not undo the rest, so it is apart;
// a key that gets another value is not, for both halves belong together.
func TestElementsThatGoAreOperationsOfTheirOwn(t *testing.T) {
	actual := State{Table: withHostPorts(&Table{})}
	desired := actual.Clone()
	m := desired.Table.Maps["host-ports4"].Elements
	delete(m, portKey("", UDP, 80))
	delete(m, portKey("", SCTP, 65535))
	m[portKey("", TCP, 80)] = netip.MustParseAddrPort("10.244.1.9:80")
	m[portKey("", TCP, 81)] = netip.MustParseAddrPort("10.244.1.9:81")
	delete(desired.Table.Sets["hairpin4"].Elements, netip.MustParsePrefix("10.244.1.5/32"))
	const want = `nft -f - <<'EOF'
delete element inet ropeway host-ports4 { tcp . 80 }
add element inet ropeway host-ports4 { tcp . 80 : 10.244.1.9 . 80, tcp . 81 : 10.244.1.9 . 81 }
EOF
nft -f - <<'EOF'
delete element inet ropeway hairpin4 { 10.244.1.5 . 10.244.1.5 }
EOF
nft -f - <<'EOF'
delete element inet ropeway host-ports4 { udp . 80 }
EOF
nft -f - <<'EOF'
delete element inet ropeway host-ports4 { sctp . 65535 }
EOF
`
	plan := Diff(actual, desired)
	for i, op := range plan.Ops {
		if IsLeftover(op) != (i > 0) {
			t.Errorf("is it a leftover? %t: %s", IsLeftover(op), op)
		}
	}
	if d := cmp.Diff(want, plan.String()); d != "" {
		t.Error(d)
	}
	// Half of it has been done by a plugin meanwhile.
	f := NewFake()
	between := actual.Clone()
	delete(between.Table.Maps["host-ports4"].Elements, portKey("", UDP, 80))
	delete(between.Table.Sets["hairpin4"].Elements, netip.MustParsePrefix("10.244.1.5/32"))
	if err := f.Apply(t.Context(), Diff(State{}, between)); err != nil {
		t.Fatal(err)
	}
	if err := f.Apply(t.Context(), plan); err != nil {
		t.Fatal(err)
	}
	s, err := f.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(desired.Table.String(), s.State.Table.String()); d != "" {
		t.Error(d)
	}
}

func TestElementThatIsGoneIsNoErrorOnTheKernel(t *testing.T) {
	s := newNftSpace(t)
	want := withHostPorts(&Table{})
	s.reach(want)
	c := &conn{ns: s.ns}
	gone := TableChange{[]tableCommand{nftDeleteMapElement{"host-ports4", PortMap4, portKey("", TCP, 1)}}}
	pair := TableChange{[]tableCommand{nftDeleteElements{"hairpin4", IPv4Pair, false, prefixes("10.0.0.1/32")}}}
	lacking := TableChange{[]tableCommand{nftDeleteMapElement{"nowhere", PortMap4, portKey("", TCP, 1)}}}
	if err := c.Apply(t.Context(), Plan{[]Op{gone, pair, lacking}}); err != nil {
		t.Error(err)
	}
	s.holds(want)
}

func TestDiffRepairsMaps(t *testing.T) {
	const table = "inet ropeway"
	for name, damage := range map[string]string{
		"element deleted":      "delete element " + table + " host-ports4 { tcp . 80 }",
		"element added":        "add element " + table + " host-ports4 { tcp . 81 : 10.0.0.1 . 81 }",
		"element changed":      "delete element " + table + " host-ports-on4 { 127.0.0.1 . tcp . 80 }; add element " + table + " host-ports-on4 { 127.0.0.1 . tcp . 80 : 10.0.0.1 . 80 }",
		"everything":           "add element " + table + " host-ports4 { * : 10.0.0.1 . 81 }",
		"flushed":              "flush map " + table + " host-ports6",
		"pair of two":          "add element " + table + " hairpin4 { 10.0.0.1 . 10.0.0.2 }",
		"pair deleted":         "flush set " + table + " hairpin6",
		"other map in a rule":  "flush chain " + table + " host-ports; add map " + table + " mine { type ipv4_addr : ipv4_addr; }; add rule " + table + " host-ports dnat ip to ip daddr map @mine",
		"map of another type":  "add map " + table + " mine { type ipv4_addr : mark; }; add element " + table + " mine { 10.0.0.1 : 1 }",
		"map of verdicts":      "add map " + table + " mine { type inet_proto . inet_service : verdict; }; add element " + table + " mine { tcp . 1 : drop }",
		"map with timeouts":    replaceNone("map", "type ipv6_addr . inet_proto . inet_service : ipv6_addr . inet_service; timeout 1h;"),
		"map with intervals":   replaceNone("map", "type ipv6_addr . inet_proto . inet_service : ipv6_addr . inet_service; flags interval;"),
		"set instead of map":   replaceNone("set", "type ipv4_addr;"),
		"dnat to one place":    "insert rule " + table + " host-ports tcp dport 80 dnat ip to 10.0.0.1:80",
		"translation of more":  "flush chain " + table + " host-ports; add rule " + table + " host-ports dnat ip to meta l4proto . th dport map @host-ports4 persistent",
		"translation by sport": "flush chain " + table + " host-ports; add rule " + table + " host-ports dnat ip to meta l4proto . th sport map @host-ports4",
	} {
		t.Run(name, func(t *testing.T) {
			s := newNftSpace(t)
			want := withHostPorts(sampleTables()["vxlan dual stack"])
			s.reach(want)
			s.nft(strings.ReplaceAll(damage, "; ", "\n"))
			plan := Diff(State{Table: s.snapshot()}, State{Table: want})
			if plan.Empty() {
				t.Fatal("the damage was not seen")
			}
			s.run("", "sh", "-ec", plan.String())
			s.holds(want)
		})
	}
}

// replaceNone puts another object in the place of the map named none.
func replaceNone(kind, spec string) string {
	const table = " inet ropeway "
	return "flush chain" + table + "host-ports; flush chain" + table + "host-ports-output; delete map" + table + "none; " +
		"add " + kind + table + "none {" + strings.ReplaceAll(spec, "; ", ";") + "}"
}

func TestMapsOfSomebodyElseAppearAsSets(t *testing.T) {
	decode := func(flags uint32, typ MapType, change uint32) listedSet {
		key, keyLen, data, dataLen := typ.datatypes()
		var list []netlink.Attribute
		for typ, v := range map[uint16]uint32{
			unix.NFTA_SET_FLAGS: flags, unix.NFTA_SET_KEY_TYPE: key, unix.NFTA_SET_KEY_LEN: keyLen,
			unix.NFTA_SET_DATA_TYPE: data + change, unix.NFTA_SET_DATA_LEN: dataLen,
		} {
			list = append(list, netlink.Attribute{Type: typ, Data: binary.BigEndian.AppendUint32(nil, v)})
		}
		s, err := decodeSet(message(t, list...))
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	for _, typ := range mapTypes() {
		if s := decode(unix.NFT_SET_MAP, typ, 0); s.mapType != typ || s.set.Type.family() != "" {
			t.Errorf("%s: decoded as %q, %q", typ, s.mapType, s.set.Type)
		}
		if s := decode(unix.NFT_SET_MAP|unix.NFT_SET_TIMEOUT, typ, 0); s.mapType != "" {
			t.Errorf("with timeouts: decoded as %s", s.mapType)
		}
		if s := decode(unix.NFT_SET_MAP, typ, 1); s.mapType != "" {
			t.Errorf("with other values: decoded as %s", s.mapType)
		}
	}
}

// roundTrip encodes elements and wants the same back.
func roundTrip(t *testing.T, typ MapType, want map[PortKey]netip.AddrPort) {
	t.Helper()
	var listed []listedElement
	for k, to := range want {
		listed = append(listed, listedElement{key: encodePortKey(k), data: encodeAddrPort(to)})
	}
	got, ok := decodeMapElements(listed, typ)
	if d := cmp.Diff(want, got, cmp.Comparer(samePort), cmp.Comparer(sameKey)); !ok || d != "" {
		t.Errorf("%s: ok %t: %s", typ, ok, d)
	}
}

func samePort(a, b netip.AddrPort) bool { return a == b }

func sameKey(a, b PortKey) bool { return a == b }
