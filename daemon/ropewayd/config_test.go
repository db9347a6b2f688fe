package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ropeway-net/ropeway/daemon/topology"
)

func TestEmptyConfigurationMeansDefaults(t *testing.T) {
	for _, text := range []string{"", "{}", "# nothing\n"} {
		got, err := ParseConfig([]byte(text))
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		if diff := cmp.Diff(defaultConfig(), got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", text, diff)
		}
	}
}

func TestConfigurationSetsWhatItNames(t *testing.T) {
	got, err := ParseConfig([]byte(`
node: n1
source: kubernetes
kubeconfig: /etc/ropeway/kubeconfig
nodeAddress: [eth1, 10.0.0.0/8]
mode: ipip-cross-subnet
mtu: 1400
vxlan: {port: 8472}
masquerade: false
stateDir: /run/x
logLevel: debug
resync: 10s
`))
	if err != nil {
		t.Fatal(err)
	}
	want := defaultConfig()
	want.Node, want.Mode, want.MTU, want.VXLAN.Port = "n1", topology.IPIPCrossSubnet, 1400, 8472
	want.Source, want.Kubeconfig, want.NodeAddress = "kubernetes", "/etc/ropeway/kubeconfig", []string{"eth1", "10.0.0.0/8"}
	want.Masquerade, want.StateDir, want.LogLevel, want.Resync = false, "/run/x", "debug", "10s"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestEveryBadValueIsNamed(t *testing.T) {
	tests := []struct {
		in   string
		want []string
	}{
		{"mode: wireguard", []string{`"wireguard"`, "vxlan-cross-subnet", "direct"}},
		{"source: etcd", []string{`source "etcd"`, "file", "kubernetes"}},
		{"kubeconfig: ../config", []string{`kubeconfig "../config"`, "absolute"}},
		{"nodeAddress: [eth0, 10.0.0.0/33]", []string{"nodeAddress", `"10.0.0.0/33"`, "CIDR"}},
		{"mtu: 500", []string{"mtu 500", "576"}},
		{"mtu: -1", []string{"mtu -1"}},
		{"mtu: large", []string{"mtu"}},
		{"vxlan: {vni: 0}", []string{"vxlan.vni 0"}},
		{"vxlan: {vni: 16777216}", []string{"vxlan.vni 16777216", "16777215"}},
		{"vxlan: {port: 0}", []string{"vxlan.port 0", "4789"}},
		{"vxlan: {port: 70000}", []string{"port"}},
		{"network: a/b", []string{`network "a/b"`}},
		{"node: ../n1", []string{`node "../n1"`}},
		{"stateDir: state", []string{"stateDir", `"state"`, "absolute"}},
		{"networksDir: /a/../b", []string{"networksDir", "'..'"}},
		{"cniConfDir: ''", []string{"cniConfDir"}},
		{"nodesFile: /", []string{"nodesFile"}},
		{"logLevel: loud", []string{"logLevel", `"loud"`, "debug"}},
		{"resync: 60", []string{"resync"}},
		{"resync: 1ms", []string{"resync", `"1ms"`}},
		{"healthAddress: localhost:9114", []string{"healthAddress", "127.0.0.1:9114"}},
		{"healthAddress: ':9114'", []string{"healthAddress"}},
		{"healthAddress: '127.0.0.1:0'", []string{"healthAddress"}},
		{"masquerade: perhaps", []string{"masquerade"}},
		{"mod: vxlan", []string{`"mod"`}},
		{"mode: vxlan\nmode: ipip", []string{"mode"}},
		{"mode: [", []string{"not valid"}},
		{"mode: x\nmtu: 1\nlogLevel: y", []string{"mode", "mtu", "logLevel"}},
	}
	for _, tc := range tests {
		t.Run(tc.in, func(t *testing.T) {
			_, err := ParseConfig([]byte(tc.in))
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

func TestMissingConfigurationSaysHowToGoOn(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ropewayd.yaml")
	_, err := LoadConfig(path, overrides{})
	if err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "--config") {
		t.Errorf("error %v", err)
	}
}

func TestNodeIsTheHostnameUnlessSet(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ropewayd.yaml")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := LoadConfig(path, overrides{})
	if err != nil || cfg.Node != host {
		t.Errorf("node %q, %v", cfg.Node, err)
	}
}

func TestCommandLineAndEnvironmentComeBeforeTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ropewayd.yaml")
	if err := os.WriteFile(path, []byte("node: of-the-file\nnodeAddress: [eth0]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := LoadConfig(path, overrides{})
	if err != nil || cfg.Node != "of-the-file" || cfg.NodeAddress[0] != "eth0" {
		t.Errorf("%+v, %v", cfg, err)
	}
	cfg, err = LoadConfig(path, overrides{node: "n1", nodeAddress: []string{"10.0.0.0/8"}})
	if err != nil || cfg.Node != "n1" || len(cfg.NodeAddress) != 1 || cfg.NodeAddress[0] != "10.0.0.0/8" {
		t.Errorf("%+v, %v", cfg, err)
	}
	if _, err := LoadConfig(path, overrides{node: "../n1"}); err == nil || !strings.Contains(err.Error(), "command line or environment") {
		t.Errorf("error %v", err)
	}
}

func FuzzParseConfig(f *testing.F) {
	f.Add([]byte("mode: vxlan\nvxlan: {vni: 1, port: 4789}\n"))
	f.Add([]byte(`{"stateDir":"/a","resync":"1h","masquerade":false}`))
	f.Add([]byte("mtu: 99999999999999999999"))
	f.Add([]byte("a: &a [*a]"))
	f.Add([]byte{0xff, 0})
	f.Fuzz(func(t *testing.T, in []byte) {
		cfg, err := ParseConfig(in)
		if err == nil {
			err = cfg.validate()
			if err != nil {
				t.Fatalf("accepted a configuration that is not valid: %v", err)
			}
		}
	})
}

func TestChecksumOffloadIsReadWithAndWithoutQuotes(t *testing.T) {
	for text, want := range map[string]topology.ChecksumOffload{
		"":                                   topology.OffloadAuto,
		"vxlan: {checksumOffload: off}":      topology.OffloadOff, // YAML's word for false
		"vxlan: {checksumOffload: on}":       topology.OffloadOn,
		"vxlan: {checksumOffload: \"off\"}":  topology.OffloadOff,
		"vxlan: {checksumOffload: auto}":     topology.OffloadAuto,
		"vxlan: {checksumOffload: disabled}": "",
	} {
		cfg, err := ParseConfig([]byte(text))
		if want == "" {
			if err == nil || !strings.Contains(err.Error(), "auto on off") {
				t.Errorf("%s: %v", text, err)
			}
			continue
		}
		if err != nil || cfg.VXLAN.ChecksumOffload != want {
			t.Errorf("%s: %q, %v", text, cfg.VXLAN.ChecksumOffload, err)
		}
	}
}
