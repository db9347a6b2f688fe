package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/containernetworking/cni/pkg/types"
	"github.com/google/go-cmp/cmp"

	"github.com/ropeway-net/ropeway/hostports"
	"github.com/ropeway-net/ropeway/kernel"
)

// confWith is a configuration with port mappings as JSON.
func confWith(mappings string) []byte {
	return []byte(`{"cniVersion":"1.1.0","name":"demo","type":"ropeway","ipam":{"type":"ropeway-ipam"},"runtimeConfig":` + mappings + `}`)
}

func samePort(a, b hostports.Port) bool { return a == b }

func TestPortMappingsInAnySpelling(t *testing.T) {
	tcp := hostports.Port{HostPort: 8080, ContainerPort: 80, Protocol: kernel.TCP}
	on := tcp
	on.HostIP = netip.MustParseAddr("192.0.2.1")
	for _, tt := range []struct {
		name, in string
		want     []hostports.Port
	}{
		{"none", `{}`, nil},
		{"null", `{"portMappings":null}`, nil},
		{"empty", `{"portMappings":[]}`, nil},
		{"as in the conventions", `{"portMappings":[{"hostPort":8080,"containerPort":80,"protocol":"tcp","hostIP":"192.0.2.1"}]}`, []hostports.Port{on}},
		{"as containerd writes it", `{"portMappings":[{"HostPort":8080,"ContainerPort":80,"Protocol":"tcp","HostIP":""}]}`, []hostports.Port{tcp}},
		{"shouted", `{"PORTMAPPINGS":[{"HOSTPORT":8080,"CONTAINERPORT":80,"PROTOCOL":"TCP","HOSTIP":"192.0.2.1"}]}`, []hostports.Port{on}},
		{"no port of the node", `{"portMappings":[{"hostPort":0,"containerPort":80,"protocol":"tcp"},{"containerPort":-1,"protocol":"?"}]}`, nil},
		{"three protocols", `{"portMappings":[{"hostPort":1,"containerPort":1,"protocol":"Udp"},{"hostPort":1,"containerPort":1,"protocol":"sCTP"},{"hostPort":1,"containerPort":1,"protocol":"tcp"}]}`,
			[]hostports.Port{{HostPort: 1, ContainerPort: 1, Protocol: kernel.UDP}, {HostPort: 1, ContainerPort: 1, Protocol: kernel.SCTP}, {HostPort: 1, ContainerPort: 1, Protocol: kernel.TCP}}},
		{"all of IPv6", `{"portMappings":[{"hostPort":65535,"containerPort":65535,"protocol":"tcp","hostIP":"::"}]}`,
			[]hostports.Port{{HostIP: netip.IPv6Unspecified(), HostPort: 65535, ContainerPort: 65535, Protocol: kernel.TCP}}},
	} {
		c, err := parseConf(confWith(tt.in), "")
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
		if d := cmp.Diff(tt.want, c.HostPorts, cmp.Comparer(samePort)); d != "" {
			t.Errorf("%s: %s", tt.name, d)
		}
	}
}

func TestBadPortMappingsAreRefusedByKeyAndValue(t *testing.T) {
	entry := func(host, container, rest string) string {
		return fmt.Sprintf(`{"portMappings":[{"hostPort":9,"containerPort":9,"protocol":"tcp"},{"hostPort":%s,"containerPort":%s,%s}]}`, host, container, rest)
	}
	many := `{"portMappings":[` + strings.Repeat(`{"hostPort":0},`, maxPortMappings) + `{"hostPort":0}]}`
	for _, tt := range []struct {
		name, in string
		code     uint
		words    []string
	}{
		{"host port too large", entry("65536", "80", `"protocol":"tcp"`), types.ErrInvalidNetworkConfig, []string{"portMappings[1].hostPort", "65536"}},
		{"host port negative", entry("-1", "80", `"protocol":"tcp"`), types.ErrInvalidNetworkConfig, []string{"portMappings[1].hostPort", "-1"}},
		{"container port zero", entry("80", "0", `"protocol":"tcp"`), types.ErrInvalidNetworkConfig, []string{"portMappings[1].containerPort", "0"}},
		{"container port too large", entry("80", "70000", `"protocol":"tcp"`), types.ErrInvalidNetworkConfig, []string{"containerPort", "70000"}},
		{"protocol", entry("80", "80", `"protocol":"icmp"`), types.ErrInvalidNetworkConfig, []string{"portMappings[1].protocol", `"icmp"`, "sctp"}},
		{"no protocol", entry("80", "80", `"hostIP":""`), types.ErrInvalidNetworkConfig, []string{"protocol", `""`}},
		{"host name", entry("80", "80", `"protocol":"tcp","hostIP":"node1"`), types.ErrInvalidNetworkConfig, []string{"hostIP", `"node1"`}},
		{"prefix", entry("80", "80", `"protocol":"tcp","hostIP":"10.0.0.0/8"`), types.ErrInvalidNetworkConfig, []string{"hostIP", "10.0.0.0/8"}},
		{"IPv4-mapped", entry("80", "80", `"protocol":"tcp","hostIP":"::ffff:10.0.0.1"`), types.ErrInvalidNetworkConfig, []string{"hostIP", "write 10.0.0.1"}},
		{"zone", entry("80", "80", `"protocol":"tcp","hostIP":"fe80::1%eth0"`), types.ErrInvalidNetworkConfig, []string{"hostIP", "fe80::1%eth0"}},
		{"multicast", entry("80", "80", `"protocol":"tcp","hostIP":"ff02::1"`), types.ErrInvalidNetworkConfig, []string{"hostIP", "ff02::1"}},
		{"twice", entry("9", "10", `"protocol":"TCP"`), types.ErrInvalidNetworkConfig, []string{"portMappings[1]", "tcp 9", "[0]"}},
		{"too many", many, types.ErrInvalidNetworkConfig, []string{"1001", "1000"}},
		{"port as text", entry(`"80"`, "80", `"protocol":"tcp"`), types.ErrDecodingFailure, []string{"HostPort", "string"}},
		{"no list", `{"portMappings":{}}`, types.ErrDecodingFailure, []string{"object"}},
	} {
		_, err := parseConf(confWith(tt.in), "")
		var coded *codedError
		if !errors.As(err, &coded) || coded.code != tt.code {
			t.Errorf("%s: error %v, want code %d", tt.name, err, tt.code)
			continue
		}
		for _, w := range tt.words {
			if !strings.Contains(strings.ToLower(err.Error()), strings.ToLower(w)) {
				t.Errorf("%s: %v does not say %q", tt.name, err, w)
			}
		}
	}
}

func FuzzParsePortMappings(f *testing.F) {
	for _, seed := range []string{
		`[{"hostPort":8080,"containerPort":80,"protocol":"tcp"}]`,
		`[{"HostPort":8080,"ContainerPort":80,"Protocol":"UDP","HostIP":"fd00::1"},{"hostPort":8080,"containerPort":80,"protocol":"SCTP","hostIP":"0.0.0.0"}]`,
		`[{"hostPort":-1},{"hostPort":65536,"containerPort":1e3}]`, `[null]`, `[{}]`, `null`,
		`[{"hostPort":1,"containerPort":1,"protocol":"tcp","hostIP":"::ffff:1.2.3.4"}]`,
	} {
		f.Add([]byte(seed))
	}
	pod := []netip.Addr{netip.MustParseAddr("10.244.1.5"), netip.MustParseAddr("fd00::5")}
	f.Fuzz(func(t *testing.T, b []byte) {
		var entries []portMapping
		if json.Unmarshal(b, &entries) != nil {
			return
		}
		ports, err := parsePortMappings(entries)
		if err != nil {
			return
		}
		table := hostports.Table()
		targets := hostports.Targets(ports, pod)
		hostports.Open(table, targets)
		elements := 0
		for _, m := range table.Maps {
			elements += len(m.Elements)
		}
		if elements != len(targets) {
			t.Errorf("%d elements for %d targets: one has been overwritten", elements, len(targets))
		}
		for _, p := range ports {
			if err := p.Validate(); err != nil {
				t.Errorf("%s: %v", p, err)
			}
		}
	})
}
