package ipam

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containernetworking/cni/pkg/types"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/ropeway-net/ropeway/statedir"
)

var compareNetip = cmp.Options{
	cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{}),
	cmpopts.EquateEmpty(),
}

func addr(s string) netip.Addr     { return netip.MustParseAddr(s) }
func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

func span(subnet, start, end, gateway string) Range {
	return Range{prefix(subnet), addr(start), addr(end), addr(gateway)}
}

func TestParseConfigUnderstandsWhatHostLocalDoes(t *testing.T) {
	whole := span("10.1.0.0/24", "10.1.0.1", "10.1.0.254", "10.1.0.1")
	table := 100
	base := func(c Config) Config {
		c.Network = "net"
		if c.DataDir == "" {
			c.DataDir = statedir.DefaultNetworksDir
		}
		if c.StateDir == "" {
			c.StateDir = statedir.DefaultDir
		}
		return c
	}
	for _, test := range []struct {
		name, in, args string
		defaults       []netip.Prefix
		want           Config
	}{
		{
			name: "subnet alone",
			in:   `{"name":"net","type":"ptp","mtu":5,"ipam":{"type":"ropeway-ipam","subnet":"10.1.0.0/24"}}`,
			want: Config{RangeSets: []RangeSet{{whole}}},
		},
		{
			name: "ends, gateway and directories",
			in:   `{"name":"net","ipam":{"subnet":"10.1.0.0/24","rangeStart":"10.1.0.10","rangeEnd":"10.1.0.20","gateway":"10.1.0.254","dataDir":"/d","stateDir":"/s"}}`,
			want: Config{DataDir: "/d", StateDir: "/s", RangeSets: []RangeSet{{span("10.1.0.0/24", "10.1.0.10", "10.1.0.20", "10.1.0.254")}}},
		},
		{
			name: "network and broadcast address as ends",
			in:   `{"name":"net","ipam":{"subnet":"10.1.0.0/24","rangeStart":"10.1.0.0","rangeEnd":"10.1.0.255"}}`,
			want: Config{RangeSets: []RangeSet{{whole}}},
		},
		{
			name: "gateway outside of the subnet",
			in:   `{"name":"net","ipam":{"subnet":"10.1.0.0/24","gateway":"169.254.1.1"}}`,
			want: Config{RangeSets: []RangeSet{{span("10.1.0.0/24", "10.1.0.1", "10.1.0.254", "169.254.1.1")}}},
		},
		{
			name: "both families, pools of several ranges, and capabilities as containerd spells them",
			in: `{"name":"net","ipam":{"subnet":"10.1.0.0/24","ranges":[[{"subnet":"fd00:1::/64"},{"subnet":"fd00:2::/64"}]]},
				"runtimeConfig":{"portMappings":[],"IPRanges":[[{"Subnet":"10.9.0.0/24","RangeStart":"","RangeEnd":"","Gateway":""}]]}}`,
			want: Config{RangeSets: []RangeSet{
				{span("10.9.0.0/24", "10.9.0.1", "10.9.0.254", "10.9.0.1")},
				{whole},
				{span("fd00:1::/64", "fd00:1::1", "fd00:1::ffff:ffff:ffff:ffff", "fd00:1::1"), span("fd00:2::/64", "fd00:2::1", "fd00:2::ffff:ffff:ffff:ffff", "fd00:2::1")},
			}},
		},
		{
			name:     "pod CIDRs of the node, when nothing else is named",
			in:       `{"name":"net","ipam":{"type":"ropeway-ipam"}}`,
			defaults: []netip.Prefix{prefix("10.1.0.0/24"), prefix("fd00:1::/64")},
			want:     Config{RangeSets: []RangeSet{{whole}, {span("fd00:1::/64", "fd00:1::1", "fd00:1::ffff:ffff:ffff:ffff", "fd00:1::1")}}},
		},
		{
			name:     "no ipam section at all",
			in:       `{"name":"net"}`,
			defaults: []netip.Prefix{prefix("10.1.0.0/24")},
			want:     Config{RangeSets: []RangeSet{{whole}}},
		},
		{
			name:     "defaults give way to a named range",
			in:       `{"name":"net","ipam":{"subnet":"10.1.0.0/24"}}`,
			defaults: []netip.Prefix{prefix("10.7.0.0/24")},
			want:     Config{RangeSets: []RangeSet{{whole}}},
		},
		{
			name: "routes",
			in:   `{"name":"net","ipam":{"subnet":"10.1.0.0/24","routes":[{"dst":"0.0.0.0/0"},{"dst":"10.8.1.1/16","gw":"10.1.0.9","mtu":1400,"advmss":1360,"priority":5,"table":100}]}}`,
			want: Config{RangeSets: []RangeSet{{whole}}, Routes: []Route{
				{Dst: prefix("0.0.0.0/0")},
				{Dst: prefix("10.8.0.0/16"), Gateway: addr("10.1.0.9"), MTU: 1400, AdvMSS: 1360, Priority: 5, Table: &table},
			}},
		},
		{
			name: "address from CNI_ARGS",
			in:   `{"name":"net","ipam":{"subnet":"10.1.0.0/24"}}`,
			args: "IgnoreUnknown=1;K8S_POD_NAME=web;IP=10.1.0.7",
			want: Config{RangeSets: []RangeSet{{whole}}, Requested: []netip.Addr{addr("10.1.0.7")}},
		},
		{
			name: "args win over CNI_ARGS",
			in:   `{"name":"net","ipam":{"subnet":"10.1.0.0/24"},"args":{"cni":{"ips":["10.1.0.8/24"],"labels":[]}}}`,
			args: "IP=10.1.0.7",
			want: Config{RangeSets: []RangeSet{{whole}}, Requested: []netip.Addr{addr("10.1.0.8")}},
		},
		{
			name: "runtimeConfig wins over args, and says it once",
			in:   `{"name":"net","ipam":{"subnet":"10.1.0.0/24"},"args":{"cni":{"ips":["10.1.0.8"]}},"runtimeConfig":{"IPs":["10.1.0.9","10.1.0.9/24","::ffff:10.1.0.9"]}}`,
			want: Config{RangeSets: []RangeSet{{whole}}, Requested: []netip.Addr{addr("10.1.0.9")}},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := ParseConfig([]byte(test.in), test.args, test.defaults)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(base(test.want), got, compareNetip); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestParseConfigRefusesWithCodeAndCause(t *testing.T) {
	inIPAM := func(s string) string { return `{"name":"net","ipam":{` + s + `}}` }
	for _, test := range []struct {
		name, in, args string
		defaults       string
		code           uint
		say            []string
	}{
		{name: "no JSON", in: `{`, code: 6, say: []string{"not valid JSON"}},
		{name: "section is a string", in: `{"name":"net","ipam":"x"}`, code: 6, say: []string{"ipam", "string"}},
		{name: "subnet is a number", in: inIPAM(`"subnet":5`), code: 6, say: []string{"subnet", "number"}},
		{name: "subnet is a number in a range", in: inIPAM(`"ranges":[[{"subnet":5}]]`), code: 6, say: []string{"ipam.ranges[0][0].subnet", "number 5", "string"}},
		{name: "routes are a string, and there is no range", in: inIPAM(`"routes":"x"`), code: 6, say: []string{"ipam.routes", "string", "list"}},
		{name: "ranges are a list, and there is no name", in: `{"ipam":{"ranges":["x"]}}`, code: 6, say: []string{"ipam.ranges", "string"}},
		{name: "ranges of the runtime are an object", in: `{"name":"net","runtimeConfig":{"IPRanges":{}}}`, code: 6, say: []string{"runtimeConfig.ipRanges", "object"}},
		{name: "requests are a string", in: `{"name":"net","args":{"cni":{"ips":"10.1.0.3"}}}`, code: 6, say: []string{"args.cni.ips", "string"}},
		{name: "cni is a list", in: `{"name":"net","args":{"cni":[]}}`, code: 6, say: []string{"args.cni", "array"}},
		{name: "nothing", in: ``, code: 6, say: []string{"not valid JSON"}},
		{name: "unknown key", in: inIPAM(`"subnets":"10.1.0.0/24"`), code: 2, say: []string{`"subnets"`, "in ipam", "rangeStart"}},
		{name: "unknown key of a range", in: inIPAM(`"ranges":[[{"subnet":"10.1.0.0/24","gw":"10.1.0.1"}]]`), code: 2, say: []string{`"gw"`, "ipam.ranges[0][0]"}},
		{name: "unknown key of a route", in: inIPAM(`"subnet":"10.1.0.0/24","routes":[{"dest":"::/0"}]`), code: 2, say: []string{`"dest"`, "ipam.routes[0]"}},
		{name: "network with a slash", in: `{"name":"../etc","ipam":{"subnet":"10.1.0.0/24"}}`, code: 7, say: []string{`"../etc"`}},
		{name: "no network name", in: `{"ipam":{"subnet":"10.1.0.0/24"}}`, code: 7, say: []string{`""`}},
		{name: "relative directory", in: inIPAM(`"subnet":"10.1.0.0/24","dataDir":"here"`), code: 7, say: []string{"dataDir", `"here"`}},
		{name: "relative state directory", in: inIPAM(`"subnet":"10.1.0.0/24","stateDir":"here"`), code: 7, say: []string{"stateDir", `"here"`}},
		{name: "no range", in: inIPAM(``), code: 7, say: []string{"no range", "ropewayd"}},
		{name: "ends without a subnet", in: inIPAM(`"rangeStart":"10.1.0.9"`), code: 7, say: []string{"no subnet"}},
		{name: "empty set", in: inIPAM(`"ranges":[[]]`), code: 7, say: []string{"ipam.ranges[0]"}},
		{name: "no prefix", in: inIPAM(`"subnet":"10.1.0.0"`), code: 7, say: []string{"10.1.0.0"}},
		{name: "host bits", in: inIPAM(`"subnet":"10.1.0.9/24"`), code: 7, say: []string{"10.1.0.9/24", "host bits", "write 10.1.0.0/24"}},
		{name: "/31", in: inIPAM(`"subnet":"10.1.0.0/31"`), code: 7, say: []string{"too small", "/30"}},
		{name: "/32", in: inIPAM(`"subnet":"10.1.0.0/32"`), code: 7, say: []string{"too small", "/30"}},
		{name: "/127", in: inIPAM(`"subnet":"fd00::/127"`), code: 7, say: []string{"too small", "/126"}},
		{name: "pod CIDR of /32", in: inIPAM(``), defaults: "10.1.0.7/32", code: 7, say: []string{"pod CIDR", "too small"}},
		{name: "multicast", in: inIPAM(`"subnet":"224.0.0.0/8"`), code: 7, say: []string{"224.0.0.0/8"}},
		{name: "loopback", in: inIPAM(`"subnet":"127.0.0.0/8"`), code: 7, say: []string{"127.0.0.0/8"}},
		{name: "everything", in: inIPAM(`"subnet":"0.0.0.0/0"`), code: 7, say: []string{"0.0.0.0/0"}},
		{name: "IPv4 in IPv6", in: inIPAM(`"subnet":"::ffff:10.1.0.0/120"`), code: 7, say: []string{"IPv4"}},
		{name: "start outside", in: inIPAM(`"subnet":"10.1.0.0/24","rangeStart":"10.2.0.1"`), code: 7, say: []string{"rangeStart 10.2.0.1", "10.1.0.0/24"}},
		{name: "end outside", in: inIPAM(`"subnet":"10.1.0.0/24","rangeEnd":"fd00::1"`), code: 7, say: []string{"rangeEnd fd00::1"}},
		{name: "end before start", in: inIPAM(`"subnet":"10.1.0.0/24","rangeStart":"10.1.0.9","rangeEnd":"10.1.0.8"`), code: 7, say: []string{"10.1.0.9", "10.1.0.8"}},
		{name: "nothing but the gateway", in: inIPAM(`"subnet":"10.1.0.0/24","rangeEnd":"10.1.0.1"`), code: 7, say: []string{"no address"}},
		{name: "nothing but broadcast", in: inIPAM(`"subnet":"10.1.0.0/24","rangeStart":"10.1.0.255"`), code: 7, say: []string{"no address"}},
		{name: "gateway of another family", in: inIPAM(`"subnet":"10.1.0.0/24","gateway":"fe80::1"`), code: 7, say: []string{"fe80::1", "famil"}},
		{name: "gateway that is none", in: inIPAM(`"subnet":"10.1.0.0/24","gateway":"x"`), code: 7, say: []string{"gateway", `"x"`}},
		{name: "families mixed", in: inIPAM(`"ranges":[[{"subnet":"10.1.0.0/24"},{"subnet":"fd00::/64"}]]`), code: 7, say: []string{"10.1.0.0/24", "fd00::/64", "famil"}},
		{name: "overlap within a set", in: inIPAM(`"ranges":[[{"subnet":"10.1.0.0/24"},{"subnet":"10.1.0.0/16","rangeStart":"10.1.0.99"}]]`), code: 7, say: []string{"10.1.0.0/24", "10.1.0.99-10.1.255.254 of 10.1.0.0/16"}},
		{name: "overlap across sets", in: inIPAM(`"subnet":"10.1.0.0/16","ranges":[[{"subnet":"10.1.7.0/24"}]]`), code: 7, say: []string{"10.1.0.0/16", "10.1.7.0/24"}},
		{name: "route to nowhere", in: inIPAM(`"subnet":"10.1.0.0/24","routes":[{"dst":"x"}]`), code: 7, say: []string{"ipam.routes[0]", `"x"`}},
		{name: "route by nothing", in: inIPAM(`"subnet":"10.1.0.0/24","routes":[{"dst":"::/0","gw":"x"}]`), code: 7, say: []string{"ipam.routes[0]", `"x"`}},
		{name: "resolvConf is missing", in: inIPAM(`"subnet":"10.1.0.0/24","resolvConf":"/nonexistent/r"`), code: 7, say: []string{"/nonexistent/r"}},
		{name: "requested outside", in: `{"name":"net","ipam":{"subnet":"10.1.0.0/24"},"runtimeConfig":{"ips":["10.2.0.1"]}}`, code: 7, say: []string{"10.2.0.1", "10.1.0.0/24"}},
		{name: "requested gateway", in: `{"name":"net","ipam":{"subnet":"10.1.0.0/24"},"runtimeConfig":{"ips":["10.1.0.1"]}}`, code: 7, say: []string{"10.1.0.1", "gateway"}},
		{name: "requested broadcast", in: `{"name":"net","ipam":{"subnet":"10.1.0.0/24"},"runtimeConfig":{"ips":["10.1.0.255"]}}`, code: 7, say: []string{"10.1.0.255"}},
		{name: "two requested of a set", in: `{"name":"net","ipam":{"subnet":"10.1.0.0/24"},"args":{"cni":{"ips":["10.1.0.3","10.1.0.4"]}}}`, code: 7, say: []string{"10.1.0.3", "10.1.0.4"}},
		{name: "requested is none", in: `{"name":"net","ipam":{"subnet":"10.1.0.0/24"},"args":{"cni":{"ips":["x"]}}}`, code: 7, say: []string{"args.cni.ips", `"x"`}},
		{name: "CNI_ARGS is none", in: inIPAM(`"subnet":"10.1.0.0/24"`), args: "IP=10.1.0.300", code: 4, say: []string{"CNI_ARGS", "10.1.0.300"}},
		{name: "zone", in: inIPAM(`"subnet":"fe80::/64"`), args: "IP=fe80::5%eth0", code: 4, say: []string{"fe80::5%eth0"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var defaults []netip.Prefix
			if test.defaults != "" {
				defaults = []netip.Prefix{prefix(test.defaults)}
			}
			c, err := ParseConfig([]byte(test.in), test.args, defaults)
			if err == nil {
				t.Fatalf("accepted as %+v", c)
			}
			if got := CNIError(err).Code; got != test.code {
				t.Errorf("code %d, want %d: %v", got, test.code, err)
			}
			for _, s := range test.say {
				if !strings.Contains(err.Error(), s) {
					t.Errorf("error does not say %q: %v", s, err)
				}
			}
		})
	}
}

func TestParseConfigReadsResolvConf(t *testing.T) {
	path := filepath.Join(t.TempDir(), "resolv.conf")
	text := "# by hand\nnameserver 10.0.0.1\nnameserver fd00::1\n; more\ndomain a.example\nsearch old\nsearch b.example c.example\noptions ndots:5\noptions rotate trust-ad\nnameserver\n\nsortlist x\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := ParseConfig(fmt.Appendf(nil, `{"name":"net","ipam":{"subnet":"10.1.0.0/24","resolvConf":%q}}`, path), "", nil)
	if err != nil {
		t.Fatal(err)
	}
	want := types.DNS{
		Nameservers: []string{"10.0.0.1", "fd00::1"}, Domain: "a.example",
		Search: []string{"b.example", "c.example"}, Options: []string{"ndots:5", "rotate", "trust-ad"},
	}
	if diff := cmp.Diff(want, c.DNS); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestParseDirWorksWithAnyRanges(t *testing.T) {
	for _, section := range []string{`{}`, `{"subnet":"nonsense","bogus":1}`, `{"ranges":"nonsense"}`} {
		got, err := ParseDir([]byte(`{"name":"net","ipam":` + section + `}`))
		if want := statedir.DefaultNetworksDir + "/net"; got != want || err != nil {
			t.Errorf("%s: %q, %v, want %q", section, got, err, want)
		}
	}
	if _, err := ParseDir([]byte(`{"name":"a/b"}`)); !errors.Is(err, ErrConfig) {
		t.Errorf("a network name with a slash gives %v", err)
	}
	if dir, err := ParseStateDir([]byte(`{"name":"net","ipam":{"stateDir":"/s"}}`)); dir != "/s" || err != nil {
		t.Errorf("state directory %q, %v", dir, err)
	}
}

func FuzzParseConfig(f *testing.F) {
	f.Add([]byte(`{"name":"net","ipam":{"subnet":"10.1.0.0/24","rangeStart":"10.1.0.10","gateway":"10.1.0.1","routes":[{"dst":"::/0"}]}}`), "IP=10.1.0.20")
	f.Add([]byte(`{"name":"n","ipam":{"ranges":[[{"subnet":"fd00::/64"}],[{"subnet":"10.1.0.0/16","rangeEnd":"10.1.0.9"}]]},"runtimeConfig":{"ips":["fd00::5/64"]}}`), "")
	f.Add([]byte(`{"name":"n","runtimeConfig":{"IPRanges":[[{"Subnet":"10.0.0.0/8"}]]},"args":{"cni":{"ips":["10.9.9.9"]}}}`), ";;=;IP=")
	f.Fuzz(func(t *testing.T, netconf []byte, args string) {
		c, err := ParseConfig(netconf, args, nil)
		if err != nil {
			if code := CNIError(err).Code; code != 4 && code != 6 && code != 7 {
				t.Errorf("code %d for %v", code, err)
			}
			return
		}
		for _, set := range c.RangeSets {
			if set.total(c.gateways()) == 0 {
				t.Errorf("set %s has no address", set)
			}
			for _, r := range set {
				if r.End.Less(r.Start) || !r.Subnet.Contains(r.Start) || !r.Subnet.Contains(r.End) || r.Start == r.Subnet.Addr() {
					t.Errorf("bad range %+v", r)
				}
			}
		}
		if dir, err := ParseDir(netconf); err != nil || dir != c.Dir() {
			t.Errorf("ParseDir gives %q, %v, want %q", dir, err, c.Dir())
		}
	})
}
