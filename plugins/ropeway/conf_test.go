package main

import (
	"encoding/json"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/containernetworking/cni/pkg/types"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/ropeway-net/ropeway/endpoint"
)

func TestReservedKeysAreTolerated(t *testing.T) {
	c, err := parseConf([]byte(`{"cniVersion":"1.1.0","name":"demo","type":"ropeway","ipam":{"type":"ropeway-ipam"},
		"ipMasq":true,"capabilities":{"mac":true},"args":{"cni":{"labels":[]}},"runtimeConfig":{"PortMappings":[]},
		"prevResult":{},"cni.dev/valid-attachments":[],"cni.dev/something":1,
		"podCIDRs":["10.99.0.0/24"],"mtu":1400,"dns":{"nameservers":["10.0.0.10"]}}`), "IgnoreUnknown=1;K8S_POD_NAME=web")
	if err != nil {
		t.Fatal(err)
	}
	want := conf{
		Name: "demo", CNIVersion: "1.1.0", StateDir: "/var/lib/cni/ropeway", MTU: 1400,
		PodCIDRs: []netip.Prefix{netip.MustParsePrefix("10.99.0.0/24")},
		DNS:      types.DNS{Nameservers: []string{"10.0.0.10"}}, IPAMType: "ropeway-ipam", PrevResult: json.RawMessage("{}"),
	}
	if diff := cmp.Diff(want, c, cmpopts.IgnoreUnexported(conf{}), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
		t.Errorf("configuration (-want +got):\n%s", diff)
	}
}

func TestBadConfigurationIsRefusedWithItsCause(t *testing.T) {
	n := newNode(t)
	pod := newNetns(t)
	ranges := func(subnets ...string) map[string]any {
		var sets []any
		for _, s := range subnets {
			sets = append(sets, []any{map[string]string{"subnet": s}})
		}
		return map[string]any{"type": "ropeway-ipam", "dataDir": n.networks, "ranges": sets}
	}
	for name, tt := range map[string]struct {
		conf  string
		args  string
		code  uint
		words []string
	}{
		"no JSON":            {conf: `{"name":"demo"`, code: types.ErrDecodingFailure},
		"no object":          {conf: `[]`, code: types.ErrDecodingFailure},
		"empty":              {conf: ``, code: types.ErrDecodingFailure},
		"no name":            {conf: n.conf("name", nil), code: types.ErrInvalidNetworkConfig, words: []string{"name"}},
		"name with a slash":  {conf: n.conf("name", "../demo"), code: types.ErrInvalidNetworkConfig, words: []string{"../demo"}},
		"unknown version":    {conf: n.conf("cniVersion", "9.9.9"), code: types.ErrIncompatibleCNIVersion, words: []string{"9.9.9"}},
		"too old version":    {conf: n.conf("cniVersion", "0.2.0"), code: types.ErrIncompatibleCNIVersion, words: []string{"0.2.0"}},
		"unknown key":        {conf: n.conf("podCIDR", "10.1.0.0/24"), code: types.ErrUnsupportedField, words: []string{`"podCIDR"`, `"10.1.0.0/24"`, "podCIDRs"}},
		"wrong type":         {conf: n.conf("mtu", "large"), code: types.ErrDecodingFailure, words: []string{"mtu", "string"}},
		"MTU with a point":   {conf: strings.Replace(n.conf("mtu", 1450), "1450", "1450.0", 1), code: types.ErrDecodingFailure, words: []string{"mtu", "1450.0", "integer"}},
		"type is a number":   {conf: n.conf("ipam", map[string]any{"type": 5}), code: types.ErrDecodingFailure, words: []string{"ipam.type", "number 5", "string"}},
		"IPAM is a list":     {conf: n.conf("ipam", []string{}), code: types.ErrDecodingFailure, words: []string{"ipam ", "array", "object"}},
		"pod CIDR a number":  {conf: n.conf("podCIDRs", []any{"10.99.0.0/24", 5}), code: types.ErrDecodingFailure, words: []string{"podCIDRs[1]", "number 5"}},
		"capability a list":  {conf: n.conf("runtimeConfig", []string{}), code: types.ErrDecodingFailure, words: []string{"runtimeConfig", "array"}},
		"wish of a type":     {conf: n.conf("runtimeConfig", map[string]any{"mac": 7}), code: types.ErrDecodingFailure, words: []string{"runtimeConfig.mac ", "number", "string"}},
		"dns of a type":      {conf: n.conf("dns", map[string]any{"nameservers": "10.0.0.10"}), code: types.ErrDecodingFailure, words: []string{"dns.nameservers", "string", "list"}},
		"args of a type":     {conf: n.conf("args", map[string]any{"cni": "x"}), code: types.ErrDecodingFailure, words: []string{"args.cni", "string", "object"}},
		"negative MTU":       {conf: n.conf("mtu", -1), code: types.ErrInvalidNetworkConfig, words: []string{"mtu -1"}},
		"huge MTU":           {conf: n.conf("mtu", 70000), code: types.ErrInvalidNetworkConfig, words: []string{"mtu 70000"}},
		"no IPAM":            {conf: n.conf("ipam", nil), code: types.ErrInvalidNetworkConfig, words: []string{"ipam.type", "ropeway-ipam"}},
		"relative state":     {conf: n.conf("stateDir", "state"), code: types.ErrInvalidNetworkConfig, words: []string{"stateDir", `"state"`}},
		"no prefix":          {conf: n.conf("podCIDRs", []string{"10.99.0.0"}), code: types.ErrInvalidNetworkConfig, words: []string{"podCIDRs", "10.99.0.0"}},
		"host bits":          {conf: n.conf("podCIDRs", []string{"10.99.0.5/24"}), code: types.ErrInvalidNetworkConfig, words: []string{"10.99.0.0/24"}},
		"two of a family":    {conf: n.conf("podCIDRs", []string{"10.1.0.0/24", "10.2.0.0/24"}), code: types.ErrInvalidNetworkConfig, words: []string{"10.1.0.0/24", "10.2.0.0/24"}},
		"overlapping ranges": {conf: n.conf("ipam", ranges("10.1.0.0/16", "10.1.2.0/24")), code: types.ErrInvalidNetworkConfig, words: []string{"10.1.0.0/16", "10.1.2.0/24", "overlap"}},
		"MAC capability":     {conf: n.conf("runtimeConfig", map[string]any{"mac": "nonsense"}), code: types.ErrInvalidNetworkConfig, words: []string{"runtimeConfig.mac", "nonsense"}},
		"multicast MAC":      {conf: n.conf("args", map[string]any{"cni": map[string]any{"mac": "01:00:5e:00:00:01"}}), code: types.ErrInvalidNetworkConfig, words: []string{"args.cni.mac", "unicast"}},
		"the gateway's MAC":  {conf: n.conf(), args: "MAC=02:72:6f:70:77:79", code: types.ErrInvalidEnvironmentVariables, words: []string{"CNI_ARGS", "gateway"}},
		"MAC in CNI_ARGS":    {conf: n.conf(), args: "MAC=nonsense", code: types.ErrInvalidEnvironmentVariables, words: []string{"CNI_ARGS", "nonsense"}},
		"no pairs":           {conf: n.conf(), args: "nonsense", code: types.ErrInvalidEnvironmentVariables, words: []string{"CNI_ARGS", "nonsense"}},
		"requested address":  {conf: n.conf(), args: "IP=192.0.2.1", code: types.ErrInvalidNetworkConfig, words: []string{"192.0.2.1"}},
	} {
		t.Run(name, func(t *testing.T) {
			n.t = t
			n.wantError(call{verb: "ADD", id: "a", netns: pod, args: tt.args, conf: tt.conf}, tt.code, tt.words...)
			n.wantNothingLeft()
		})
	}
}

// DEL asks the allocator that ADD asked, whatever else is wrong by then.
func TestDelReadsWhatItNeedsBesideMistakes(t *testing.T) {
	for _, mistake := range []string{`"mtu":"large"`, `"podCIDRs":5`, `"cniVersion":{}`, `"unknown":1`, `"runtimeConfig":7`, `"dns":[]`} {
		for _, text := range []string{
			`{` + mistake + `,"name":"demo","stateDir":"/s","ipam":{"type":"host-local"}}`,
			`{"ipam":{"type":"host-local","more":[]},"stateDir":"/s","name":"demo",` + mistake + `}`,
		} {
			c, err := parseLenient([]byte(text))
			if err != nil || c.IPAMType != "host-local" || c.Name != "demo" || c.StateDir != "/s" {
				t.Errorf("%s: %+v, %v", text, c, err)
			}
		}
	}
	for _, text := range []string{`{"name":"demo","ipam":5}`, `{"name":"demo","ipam":{"type":5}}`, `{"name":"demo"}`} {
		if c, err := parseLenient([]byte(text)); err != nil || c.IPAMType != inProcess || c.Name != "demo" {
			t.Errorf("%s: %+v, %v", text, c, err)
		}
	}
}

func TestBadEnvironmentIsRefusedWithTheVariable(t *testing.T) {
	n, pod := newNode(t), newNetns(t)
	for name, tt := range map[string]struct {
		call  call
		words []string
	}{
		"no container":              {call{netns: pod}, []string{"CNI_CONTAINERID"}},
		"container with a slash":    {call{id: "../a", netns: pod}, []string{"../a"}},
		"interface with a slash":    {call{id: "a", netns: pod, ifName: "a/b"}, []string{"interface name"}},
		"interface name too long":   {call{id: "a", netns: pod, ifName: "abcdefghijklmnop"}, []string{"interface name"}},
		"interface name of oddness": {call{id: "a", netns: pod, ifName: "eth0@x"}, []string{"CNI_IFNAME", "eth0@x"}},
		"container too long":        {call{id: strings.Repeat("a", 300), netns: pod}, []string{"CNI_CONTAINERID"}},
		"no namespace":              {call{id: "a"}, []string{"CNI_NETNS"}},
	} {
		t.Run(name, func(t *testing.T) {
			n.t = t
			tt.call.verb, tt.call.conf = "ADD", n.conf()
			n.wantError(tt.call, types.ErrInvalidEnvironmentVariables, tt.words...)
			n.wantNothingLeft()
		})
	}
}

func TestMissingCapabilitiesAreNamed(t *testing.T) {
	n, pod := newNode(t), newNetns(t)
	n.add(call{id: "a", netns: pod, conf: n.conf()})
	n.wrapper = []string{"setpriv", "--inh-caps=-all", "--bounding-set=-all"}
	n.wantError(call{verb: "ADD", id: "b", netns: newNetns(t), conf: n.conf()}, codeKernel, "CAP_NET_ADMIN")
	n.wantError(call{verb: "DEL", id: "a", conf: n.conf()}, codeKernel, endpoint.HostLink("a", "eth0"), "CAP_NET_ADMIN")
	n.record("a") // for a DEL that may
	n.wrapper = nil
	n.must(call{verb: "DEL", id: "a", conf: n.conf()})
	n.wantNothingLeft()
}

func FuzzParseConf(f *testing.F) {
	for _, seed := range []string{
		`{"cniVersion":"1.1.0","name":"demo","type":"ropeway","ipam":{"type":"ropeway-ipam"}}`,
		`{"name":"demo","podCIDRs":["10.99.0.0/24","fd99::/64"],"mtu":1400,"ipam":{"type":"host-local"}}`,
		`{"name":"demo","ipam":{"type":"x"},"runtimeConfig":{"MAC":"02:00:00:00:00:01"},"cni.dev/x":null}`,
		`{"podCIDRs":["::ffff:10.0.0.0/120"],"ipam":{"type":"x"}}`, `{"mtu":1e9}`, `[]`, `null`, ``, `{"ipam":null}`,
	} {
		f.Add([]byte(seed), "IgnoreUnknown=1;MAC=02:00:00:00:00:01;K8S_POD_NAME=web")
	}
	f.Fuzz(func(t *testing.T, stdin []byte, args string) {
		c, err := parseConf(stdin, args)
		if err != nil {
			var coded *codedError
			if !errors.As(err, &coded) {
				t.Errorf("error %v has no code", err)
			}
			return
		}
		for _, p := range c.PodCIDRs {
			if p != p.Masked() || p.Addr().Is4In6() {
				t.Errorf("pod CIDR %s was accepted", p)
			}
		}
		if len(c.PodCIDRs) > 2 || c.IPAMType == "" || c.MTU != 0 && (c.MTU < minMTU || c.MTU > maxMTU) {
			t.Errorf("configuration %+v was accepted", c)
		}
		// What ADD accepts DEL must understand in the same way.
		lenient, err := parseLenient(stdin)
		if err != nil || lenient.StateDir != c.StateDir || lenient.IPAMType != c.IPAMType || lenient.Name != c.Name {
			t.Errorf("DEL reads %+v (%v), ADD reads %+v", lenient, err, c)
		}
	})
}

func FuzzParseLease(f *testing.F) {
	conf := `{"cniVersion":"1.0.0"}`
	for _, seed := range []string{
		`{"cniVersion":"1.1.0","ips":[{"address":"10.77.0.5/24"}],"routes":[{"dst":"0.0.0.0/0"}]}`,
		`{"cniVersion":"0.3.1","ips":[{"version":"4","address":"10.77.0.5/24"}]}`,
		`{"ip4":{"ip":"10.0.0.2/24"},"cniVersion":"0.2.0"}`, `{"ips":[{"address":"fd00::5/64"}]}`, `{}`, `null`, ``,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, out []byte) {
		l, err := parseLease([]byte(conf), out)
		if err != nil {
			return
		}
		if len(l.Addresses) == 0 {
			t.Error("a lease without addresses was accepted")
		}
		for _, a := range l.Addresses {
			if !a.IsValid() || a.Is4In6() || a.Zone() != "" {
				t.Errorf("address %q was accepted", a)
			}
		}
	})
}
