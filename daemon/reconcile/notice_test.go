package reconcile

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ropeway-net/ropeway/daemon/cluster"
	"github.com/ropeway-net/ropeway/daemon/status"
	"github.com/ropeway-net/ropeway/daemon/topology"
	"github.com/ropeway-net/ropeway/kernel"
)

func (n *notices) of(reason string) []status.Notice {
	n.mu.Lock()
	defer n.mu.Unlock()
	var out []status.Notice
	for _, notice := range n.all {
		if notice.Reason == reason {
			out = append(out, notice)
		}
	}
	return out
}

func TestRepairGivesNoticeWithCountsByKind(t *testing.T) {
	b := newBench(t)
	var got notices
	b.cfg.Notify = got.take
	b.start()
	b.publish(node(1), node(2))
	b.untilHolds(node(1), node(2))
	if n := got.of(status.RouteRepaired); len(n) != 0 {
		t.Fatalf("notices without damage: %+v", n)
	}
	if err := b.fake.Damage(kernel.RouteDel{RouteKey: route("10.244.2.0/24")}); err != nil {
		t.Fatal(err)
	}
	b.until("a notice", func() bool { return len(got.of(status.RouteRepaired)) == 1 })
	if n := got.of(status.RouteRepaired)[0]; !n.Warning || n.Counts["route"] != 1 || n.Message == "" {
		t.Errorf("notice %+v", n)
	}
}

func TestNearlyFullPoolGivesNoticeOnce(t *testing.T) {
	b := newBench(t)
	var got notices
	b.cfg.Notify = got.take
	small := node(1)
	small.PodCIDRs = []netip.Prefix{netip.MustParsePrefix("10.244.1.0/27")} // 29 pods
	dir := filepath.Join(b.cfg.Conflist.NetworksDir, b.cfg.Conflist.Network)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	reserve := func(number int) {
		address := fmt.Sprintf("10.244.1.%d", 1+number)
		if err := os.WriteFile(filepath.Join(dir, address), fmt.Appendf(nil, "pod%d\r\neth0", number), 0o600); err != nil {
			t.Fatal(err)
		}
		b.attach(fmt.Sprintf("pod%d", number), address)
		b.untilNext()
	}
	b.start()
	b.publish(small)
	b.untilHolds(small)
	for n := 1; n <= 28; n++ {
		reserve(n)
		b.until("the pass that sees it", func() bool { return b.loop.Status().Pods == n })
		if told := len(got.of(status.PoolNearlyFull)); told > 0 && n < 27 {
			t.Fatalf("notice at %d of 29", n)
		}
	}
	b.until("a notice", func() bool { return len(got.of(status.PoolNearlyFull)) == 1 })
	if n := got.of(status.PoolNearlyFull)[0]; !n.Warning || !strings.Contains(n.Message, "10.244.1.") || !strings.Contains(n.Message, "of 29") {
		t.Errorf("notice %+v", n)
	}
}

func TestNodeWithoutPodCIDRIsNotReadyForTheReasonThatTheSourceGives(t *testing.T) {
	b := newBench(t)
	b.start()
	bare := node(1)
	bare.PodCIDRs, bare.Problems = nil, []string{"nobody has assigned one"}
	b.publish(bare, node(2))
	b.until("the reason", func() bool {
		r := b.loop.Status()
		return !r.Ready && strings.Contains(r.Reason, "n1 has no usable pod CIDR") && strings.Contains(r.Reason, "nobody has assigned one")
	})
	b.publish(node(1), node(2))
	b.untilHolds(node(1), node(2))
}

func TestPeerWithProblemsHoldsUpNoOther(t *testing.T) {
	b := newBench(t)
	b.start()
	lost := node(3)
	lost.Addresses, lost.Problems = nil, []string{"its address is that of n2"}
	gone := node(4)
	gone.PodCIDRs, gone.Problems = nil, []string{"its pod CIDR is that of n2"}
	b.publish(node(1), node(2), lost, gone)
	b.until("ready", func() bool { return b.loop.Status().Ready })
	if _, ok := b.route("10.244.2.0/24"); !ok {
		t.Error("the good peer has no route")
	}
	if r, ok := b.route("10.244.3.0/24"); !ok || r.Type != kernel.Unreachable {
		t.Errorf("route to the peer without address: %+v, %v", r, ok)
	}
	problems := strings.Join(b.loop.Status().Problems, "\n")
	for _, part := range []string{"node n3: its address is that of n2", "node n4: its pod CIDR is that of n2"} {
		if strings.Count(problems, part) != 1 {
			t.Errorf("problems do not say %q once:\n%s", part, problems)
		}
	}
	// What was remembered can be recalled, problems and all.
	nodes, err := cluster.Recall(b.cfg.StateDir.PeersFile())
	if err != nil || len(nodes) != 4 {
		t.Errorf("recalled %+v, %v", nodes, err)
	}
}

func TestChosenNodeAddressIsUsedToldAndLoggedOnce(t *testing.T) {
	b := newBench(t)
	rule, err := topology.ParseAddressRule("192.168.1.99")
	if err != nil {
		t.Fatal(err)
	}
	b.cfg.NodeAddress = []topology.AddressRule{rule}
	b.start()
	b.publish(node(1), node(2))
	b.untilHolds(node(1), node(2))
	for range 3 {
		b.untilNextAfter(b.publish)
	}
	r := b.loop.Status().Address
	if len(r.Addresses) != 1 || r.Addresses[0].String() != "192.168.1.99" || !r.Chosen || !strings.Contains(r.Reason, "eth0") {
		t.Errorf("address %+v", r)
	}
	if n := b.log.count("node address"); n != 1 {
		t.Errorf("%d log lines", n)
	}
	if text := b.fake.String(); !strings.Contains(text, "local 192.168.1.99") {
		t.Errorf("the tunnel is elsewhere:\n%s", text)
	}
}

// untilNextAfter publishes the same nodes again and waits for the pass.
func (b *bench) untilNextAfter(publish func(...cluster.Node)) {
	b.t.Helper()
	publish(node(1), node(2))
	b.until("another pass", func() bool {
		last := b.loop.Status().Last
		return last.Time.Add(-last.Duration).After(b.published)
	})
}

func TestNodeAddressThatMatchesNothingChangesNothing(t *testing.T) {
	b := newBench(t)
	rule, err := topology.ParseAddressRule("10.9.0.0/16")
	if err != nil {
		t.Fatal(err)
	}
	b.cfg.NodeAddress = []topology.AddressRule{rule}
	b.start()
	b.publish(node(1), node(2))
	b.until("the reason", func() bool {
		r := b.loop.Status()
		return !r.Ready && strings.Contains(r.Reason, "nodeAddress matches no address") && strings.Contains(r.Reason, "10.9.0.0/16")
	})
	if b.fake.Applies() != 0 {
		t.Error("something was changed")
	}
}
