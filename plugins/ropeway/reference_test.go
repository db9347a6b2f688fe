package main

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containernetworking/cni/libcni"
	types100 "github.com/containernetworking/cni/pkg/types/100"
	"github.com/google/go-cmp/cmp"
)

// chained are plugins of the reference suite, as a list's configurations.
func chained(state string) map[string]map[string]any {
	return map[string]map[string]any{
		"portmap":   {"type": "portmap", "capabilities": map[string]bool{"portMappings": true}, "backend": "nftables"},
		"bandwidth": {"type": "bandwidth", "ingressRate": 100_000_000, "ingressBurst": 10_000_000, "egressRate": 100_000_000, "egressBurst": 10_000_000},
		"tuning":    {"type": "tuning", "mtu": 1300, "allmulti": true, "sysctl": map[string]string{"net.ipv4.conf.IFNAME.log_martians": "1"}, "dataDir": state},
		"sbr":       {"type": "sbr"},
		"firewall":  {"type": "firewall", "backend": "iptables"},
	}
}

// reference builds plugins of the pinned reference suite into the node's
// CNI_PATH; ours is this test.
func (n *testNode) reference(names ...string) {
	n.t.Helper()
	packages := []string{"build", "-o", n.cniPath + "/"}
	for _, name := range names {
		kind := "meta"
		if name == "loopback" {
			kind = "main"
		}
		packages = append(packages, "github.com/containernetworking/plugins/plugins/"+kind+"/"+name)
	}
	build := exec.Command("go", packages...)
	build.Dir = filepath.Join("..", "..", "integration", "bench", "reference")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off", "GOFLAGS=")
	if out, err := build.CombinedOutput(); err != nil {
		n.t.Fatalf("build the reference plugins: %v\n%s", err, out)
	}
	self, err := os.Executable()
	if err != nil {
		n.t.Fatal(err)
	}
	if err := os.Symlink(self, filepath.Join(n.cniPath, "ropeway")); err != nil {
		n.t.Fatal(err)
	}
}

// runtimeOf is what a container runtime is: libcni in the node's namespace.
type runtimeOf struct {
	*testNode
	cni *libcni.CNIConfig
}

func newRuntime(t *testing.T, n *testNode) runtimeOf {
	t.Helper()
	t.Setenv(runAsPlugin, "1") // of the plugins that it starts
	t.Setenv("GORACE", "atexit_sleep_ms=0")
	return runtimeOf{n, libcni.NewCNIConfigWithCacheDir([]string{n.cniPath}, t.TempDir(), nil)}
}

// list is a network of several plugins.
func (r runtimeOf) list(plugins ...map[string]any) *libcni.NetworkConfigList {
	r.t.Helper()
	b, err := json.Marshal(map[string]any{"cniVersion": "1.1.0", "name": "demo", "plugins": plugins})
	if err != nil {
		r.t.Fatal(err)
	}
	list, err := libcni.NetworkConfFromBytes(b)
	if err != nil {
		r.t.Fatal(err)
	}
	return list
}

// do calls a verb as the runtime does.
func (r runtimeOf) do(what string, verb func(ctx context.Context) error) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), time.Minute)
	defer cancel()
	in(r.t, r.netns, func() {
		if err := verb(ctx); err != nil {
			r.t.Errorf("%s: %v", what, err)
		}
	})
}

// ours is ropeway's own entry of a list.
func (n *testNode) ours(pairs ...any) map[string]any {
	var c map[string]any
	if err := json.Unmarshal([]byte(n.conf(pairs...)), &c); err != nil {
		n.t.Fatal(err)
	}
	delete(c, "cniVersion")
	delete(c, "name")
	return c
}

func TestChainsOfTheReferenceSuiteWork(t *testing.T) {
	chains := map[string][]string{
		"portmap": {"portmap"}, "bandwidth": {"bandwidth"}, "tuning": {"tuning"}, "sbr": {"sbr"}, "firewall": {"firewall"},
		"all":           {"portmap", "bandwidth", "tuning", "sbr", "firewall"},
		"all, reversed": {"firewall", "sbr", "tuning", "bandwidth", "portmap"},
	}
	built := newNode(t)
	built.reference("portmap", "bandwidth", "tuning", "sbr", "firewall")
	for name, chain := range chains {
		t.Run(name, func(t *testing.T) {
			n, pod := newNode(t), newNetns(t)
			n.cniPath = built.cniPath
			r := newRuntime(t, n)
			known := chained(t.TempDir())
			plugins := []map[string]any{n.ours()}
			for _, p := range chain {
				plugins = append(plugins, known[p])
			}
			list := r.list(plugins...)
			rt := &libcni.RuntimeConf{ContainerID: "a", NetNS: pod, IfName: "eth0", Args: [][2]string{{"IgnoreUnknown", "1"}, {"K8S_POD_NAME", "web"}},
				CapabilityArgs: map[string]any{"portMappings": ports(t, "8080:80/tcp")["portMappings"]}}
			before := n.leftovers()
			for range 2 { // the second time over what the first one left
				r.do("ADD", func(ctx context.Context) error { _, err := r.cni.AddNetworkList(ctx, list, rt); return err })
				r.do("CHECK", func(ctx context.Context) error { return r.cni.CheckNetworkList(ctx, list, rt) })
				r.do("STATUS", func(ctx context.Context) error { return r.cni.GetStatusNetworkList(ctx, list) })
				n.ping(n.record("a").Addresses[0].String())
				r.do("DEL", func(ctx context.Context) error { return r.cni.DelNetworkList(ctx, list, rt) })
				if t.Failed() {
					return
				}
				n.wantNoPorts()
				if d := cmp.Diff(before, n.leftovers()); d != "" {
					t.Errorf("left behind (-before +after):\n%s", d)
				}
			}
		})
	}
}

// ping fails unless a pod answers the node.
func (n *testNode) ping(address string) {
	n.t.Helper()
	from := "169.254.1.1"
	if strings.Contains(address, ":") {
		from = "fe80::1%" + n.record("a").HostLink
	}
	command(n.t, n.netns, "ping", "-c", "3", "-i", "0.2", "-W", "5", "-I", from, address)
}

// leftovers are files, links, routes, and whatever rules name a pod's address.
func (n *testNode) leftovers() []string {
	n.t.Helper()
	found := n.traces()
	rules := command(n.t, n.netns, "nft", "list", "ruleset")
	for _, tool := range []string{"iptables-save", "ip6tables-save"} {
		rules += command(n.t, n.netns, tool)
	}
	for line := range strings.Lines(rules) {
		if strings.Contains(line, "10.99.0.") || strings.Contains(line, "fd99:") {
			found = append(found, "rule "+strings.TrimSpace(line))
		}
	}
	return found
}

// A MAC address that tuning sets is one that the node does not know.
func TestMACOfALaterPluginIsToldOfByCheckAndSetByOurs(t *testing.T) {
	n, pod := newNode(t), newNetns(t)
	n.reference("tuning")
	r := newRuntime(t, n)
	const mac = "02:00:00:00:00:77"
	tuning := map[string]any{"type": "tuning", "mac": mac, "dataDir": t.TempDir()}
	rt := &libcni.RuntimeConf{ContainerID: "a", NetNS: pod, IfName: "eth0"}
	list := r.list(n.ours(), tuning)
	r.do("ADD", func(ctx context.Context) error { _, err := r.cni.AddNetworkList(ctx, list, rt); return err })
	in(t, n.netns, func() {
		err := r.cni.CheckNetworkList(t.Context(), list, rt)
		if err == nil || !strings.Contains(err.Error(), mac) || !strings.Contains(err.Error(), "capability mac") {
			t.Errorf("CHECK: %v", err)
		}
	})
	r.do("DEL", func(ctx context.Context) error { return r.cni.DelNetworkList(ctx, list, rt) })

	list = r.list(n.ours("args", map[string]any{"cni": map[string]any{"mac": mac}}), tuning)
	r.do("ADD", func(ctx context.Context) error { _, err := r.cni.AddNetworkList(ctx, list, rt); return err })
	r.do("CHECK", func(ctx context.Context) error { return r.cni.CheckNetworkList(ctx, list, rt) })
	n.ping(n.record("a").Addresses[0].String())
	n.ping(n.record("a").Addresses[1].String())
	r.do("DEL", func(ctx context.Context) error { return r.cni.DelNetworkList(ctx, list, rt) })
	n.wantNothingLeft()
}

// Behind another plugin the result holds what that one has made, too.
func TestResultOfThePluginBeforeIsHandedOn(t *testing.T) {
	n, pod := newNode(t), newNetns(t)
	n.reference("loopback", "tuning")
	r := newRuntime(t, n)
	list := r.list(map[string]any{"type": "loopback"}, n.ours(), map[string]any{"type": "tuning", "mtu": 1300, "dataDir": t.TempDir()})
	rt := &libcni.RuntimeConf{ContainerID: "a", NetNS: pod, IfName: "eth0"}
	r.do("ADD", func(ctx context.Context) error {
		raw, err := r.cni.AddNetworkList(ctx, list, rt)
		if err != nil {
			return err
		}
		result, err := types100.GetResult(raw)
		if err != nil {
			return err
		}
		var got []string
		for _, ip := range result.IPs {
			got = append(got, result.Interfaces[*ip.Interface].Name+" "+ip.Address.String())
		}
		want := []string{"lo 127.0.0.1/8", "lo ::1/128", "eth0 10.99.0.2/32", "eth0 fd99::2/128"}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("addresses (-want +got):\n%s", d)
		}
		return nil
	})
	r.do("CHECK", func(ctx context.Context) error { return r.cni.CheckNetworkList(ctx, list, rt) })
	r.do("DEL", func(ctx context.Context) error { return r.cni.DelNetworkList(ctx, list, rt) })
	n.wantNothingLeft()
	n.wantError(call{verb: "ADD", id: "b", netns: newNetns(t), conf: n.conf("prevResult", "text")}, 6, "prevResult")
}
