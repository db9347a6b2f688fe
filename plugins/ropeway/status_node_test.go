package main

import (
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/ropeway-net/ropeway/plugins/protocol"
	"github.com/ropeway-net/ropeway/statedir"
)

// prepared is a node as the daemon leaves it, in the given mode.
func prepared(t testing.TB, mode string) (n *testNode, conf string) {
	t.Helper()
	n = newNode(t)
	boot, err := statedir.BootID()
	if err != nil {
		t.Fatal(err)
	}
	node := statedir.Node{BootID: boot, Mode: mode, MTU: 1400, PodCIDRs: []netip.Prefix{netip.MustParsePrefix("10.99.0.0/24"), netip.MustParsePrefix("fd99::/64")}}
	if err := n.state.WriteNode(node); err != nil {
		t.Fatal(err)
	}
	command(t, n.netns, "sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
	command(t, n.netns, "nft", "add", "table", "inet", "ropeway")
	if mode != "direct" {
		ip(t, n.netns, "link", "add", "ropeway-vxlan", "type", "vxlan", "id", "114", "dstport", "4789")
		ip(t, n.netns, "link", "set", "ropeway-vxlan", "up")
	}
	return n, n.conf("podCIDRs", nil)
}

func TestStatusToleratesADeadDaemonAsLongAsNothingIsLost(t *testing.T) {
	for _, mode := range []string{"vxlan", "direct"} {
		n, conf := prepared(t, mode)
		n.must(call{verb: "STATUS", conf: conf})
		n.add(call{id: "a", netns: newNetns(t), conf: conf})
		n.must(call{verb: "STATUS", conf: conf})
	}
}

func TestStatusSaysWhenRunningPodsAreCutOff(t *testing.T) {
	for name, tt := range map[string]struct {
		damage []string
		words  []string
	}{
		"table":             {[]string{"nft", "delete", "table", "inet", "ropeway"}, []string{"nftables table inet ropeway is gone"}},
		"tunnel":            {[]string{"ip", "link", "delete", "ropeway-vxlan"}, []string{"tunnel device of mode vxlan is gone or down"}},
		"tunnel down":       {[]string{"ip", "link", "set", "ropeway-vxlan", "down"}, []string{"tunnel device of mode vxlan is gone or down"}},
		"forwarding":        {[]string{"sysctl", "-qw", "net.ipv4.ip_forward=0"}, []string{"net.ipv4.ip_forward is 0"}},
		"forwarding (IPv6)": {[]string{"sysctl", "-qw", "net.ipv6.conf.all.forwarding=0"}, []string{"net.ipv6.conf.all.forwarding is 0"}},
	} {
		t.Run(name, func(t *testing.T) {
			n, conf := prepared(t, "vxlan")
			pod := newNetns(t)
			n.add(call{id: "a", netns: pod, conf: conf})
			command(t, n.netns, tt.damage[0], tt.damage[1:]...)
			n.wantError(call{verb: "STATUS", conf: conf}, types.ErrLimitedConnectivity, append(slices.Clone(tt.words), "ropewayd", "start it")...)
			n.must(call{verb: "DEL", id: "a", conf: conf})
			// Nobody is cut off, and yet a pod that starts now would be.
			n.wantError(call{verb: "STATUS", conf: conf}, types.ErrPluginNotAvailable, tt.words...)
		})
	}
}

// A daemon that lives repairs within milliseconds; the node must not become
// unready for that.
func TestStatusGivesALivingDaemonTheTimeToRepair(t *testing.T) {
	n, conf := prepared(t, "direct")
	listener, err := net.Listen("unix", n.state.Socket())
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	command(t, n.netns, "nft", "delete", "table", "inet", "ropeway")
	looked := make(chan struct{})
	go func() {
		defer close(looked)
		c, err := listener.Accept() // the plugin has seen the damage
		if err != nil {
			return
		}
		_ = c.Close()
		command(t, n.netns, "nft", "add", "table", "inet", "ropeway")
	}()
	n.must(call{verb: "STATUS", conf: conf})
	<-looked
	command(t, n.netns, "nft", "delete", "table", "inet", "ropeway")
	n.wantError(call{verb: "STATUS", conf: conf}, types.ErrPluginNotAvailable, "ropewayd runs and has not put it right", "ropewayctl status")
}

func TestStatusNamesWhatTheKernelLacks(t *testing.T) {
	n := newNode(t)
	ipv4Only := n.conf("podCIDRs", []string{"10.99.0.0/24"})
	command(t, n.netns, "sysctl", "-qw", "net.ipv6.conf.default.disable_ipv6=1")
	n.wantError(call{verb: "STATUS", conf: n.conf()}, types.ErrPluginNotAvailable, "IPv6 is switched off", "net.ipv6.conf.default.disable_ipv6=0")
	n.must(call{verb: "STATUS", conf: ipv4Only})
	n.wrapper = []string{"setpriv", "--inh-caps=-all", "--bounding-set=-all"}
	n.wantError(call{verb: "STATUS", conf: ipv4Only}, types.ErrPluginNotAvailable, "veth pairs", "CAP_NET_ADMIN")
}

func TestStatusAsksTheDelegate(t *testing.T) {
	n := newNode(t)
	n.fakeIPAM("fake", `[ -e `+n.cniPath+`/broken ] || exit 0
		echo '{"code": 51, "msg": "lease server is away"}'; exit 1`)
	conf := n.conf("ipam", map[string]any{"type": "fake"})
	n.must(call{verb: "STATUS", conf: conf})
	if err := os.WriteFile(filepath.Join(n.cniPath, "broken"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	n.wantError(call{verb: "STATUS", conf: conf}, types.ErrLimitedConnectivity, "IPAM plugin fake", "lease server is away")
}

func BenchmarkStatus(b *testing.B) {
	n, conf := prepared(b, "vxlan")
	n.add(call{id: "a", netns: newNetns(b), conf: conf})
	in(b, n.netns, func() {
		for b.Loop() {
			if err := (plugin{}).status(b.Context(), &protocol.Args{StdinData: []byte(conf)}); err != nil {
				b.Error(err)
			}
		}
	})
}

func BenchmarkCheck(b *testing.B) {
	n, conf := prepared(b, "vxlan")
	pod := newNetns(b)
	conf = withPrevResult(b, conf, n.add(call{id: "a", netns: pod, conf: conf}))
	in(b, n.netns, func() {
		for b.Loop() {
			args := &protocol.Args{ContainerID: "a", IfName: "eth0", Netns: pod, StdinData: []byte(conf)}
			if err := (plugin{}).check(b.Context(), args); err != nil {
				b.Error(err)
			}
		}
	})
}
