package reconcile

import (
	"context"
	"errors"
	"io/fs"
	"math/rand/v2"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ropeway-net/ropeway/daemon/cluster"
	"github.com/ropeway-net/ropeway/daemon/topology"
	"github.com/ropeway-net/ropeway/endpoint"
	"github.com/ropeway-net/ropeway/kernel"
	"github.com/ropeway-net/ropeway/statedir"
)

func TestStartMakesTheNodeReady(t *testing.T) {
	b := newBench(t)
	b.start()
	b.publish(node(1), node(2), node(3))
	b.untilHolds(node(1), node(2), node(3))

	got, err := b.cfg.StateDir.ReadNode()
	if err != nil {
		t.Fatal(err)
	}
	want := statedir.Node{BootID: "boot-a", Name: "n1", Mode: "vxlan", PodCIDRs: node(1).PodCIDRs, MTU: 1450, Sources: node(1).Addresses}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b }), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
		t.Errorf("node.json (-want +got):\n%s", diff)
	}
	if _, err := cluster.Recall(b.cfg.StateDir.PeersFile()); err != nil {
		t.Error(err)
	}
	if !b.exists(b.cfg.Conflist.Path()) {
		t.Error("no CNI configuration")
	}
	if r := b.loop.Status(); len(r.Paths) != 4 || r.Nodes.Count != 3 || len(r.Drift) != 0 {
		t.Errorf("status %+v", r)
	}
}

func TestNothingIsTouchedBeforeTheNodesAreKnown(t *testing.T) {
	b := newBench(t)
	b.cfg.Patience = 20 * time.Millisecond
	b.start()
	b.complain(errors.New("no such file"))
	b.until("the reason is told", func() bool { return b.loop.Status().Reason == "no such file" })
	b.attach("c1", "10.244.1.5")
	b.until("patience ends", func() bool { return b.log.count("nothing is touched") >= 2 })
	if n := b.fake.Applies(); n != 0 {
		t.Errorf("the kernel was changed %d times", n)
	}
	if b.exists(b.cfg.StateDir.NodeFile()) || b.exists(b.cfg.Conflist.Path()) {
		t.Error("files were written")
	}
}

func TestRestartAdoptsWithoutAWrite(t *testing.T) {
	b := newBench(t)
	b.attach("c1", "10.244.1.5")
	b.start()
	b.publish(node(1), node(2))
	b.untilHolds(node(1), node(2))
	b.stop()
	applied, held := len(b.fake.Applied()), b.fake.String()
	files := []string{b.cfg.StateDir.NodeFile(), b.cfg.StateDir.PeersFile(), b.cfg.StateDir.SysctlsFile(), b.cfg.Conflist.Path()}
	var before []fs.FileInfo
	for _, path := range files {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		before = append(before, info)
	}

	b.start()
	b.publish(node(1), node(2))
	b.until("ready again", func() bool { return b.loop.Status().Ready })
	if n := len(b.fake.Applied()) - applied; n != 0 {
		t.Errorf("%d operations at restart: %v", n, b.fake.Applied()[applied:])
	}
	if diff := cmp.Diff(held, b.fake.String()); diff != "" {
		t.Errorf("kernel (-before +after):\n%s", diff)
	}
	for n, path := range files {
		info, err := os.Stat(path)
		if err != nil || !os.SameFile(before[n], info) {
			t.Errorf("%s was written again (%v)", path, err)
		}
	}
}

func TestDriftIsRepairedAndReported(t *testing.T) {
	b := newBench(t)
	b.start()
	nodes := []cluster.Node{node(1), node(2)}
	b.publish(nodes...)
	b.untilHolds(nodes...)
	damages := []struct {
		kind string
		op   kernel.Op
	}{
		{"route", kernel.RouteDel{RouteKey: route("10.244.2.0/24")}},
		{"address", kernel.AddressDel{Address: kernel.Address{Link: kernel.VXLANLink, Prefix: netip.MustParsePrefix("fd10:244:0:1::1/128")}}},
		{"neighbour", kernel.NeighbourDel{NeighbourKey: kernel.NeighbourKey{Link: kernel.VXLANLink, IP: netip.MustParseAddr("10.244.2.1")}}},
		{"sysctl", kernel.SysctlSet{Key: "net/ipv4/ip_forward", Value: "0"}},
		{"link", kernel.LinkSet{Name: kernel.VXLANLink, MTU: 1300}},
		{"link", kernel.LinkDel{Name: kernel.VXLANLink}},
	}
	for _, d := range damages {
		before := b.loop.Status().Drift[d.kind]
		if err := b.fake.Damage(d.op); err != nil {
			t.Fatal(err)
		}
		b.until(d.op.String()+" is repaired and counted", func() bool { return b.loop.Status().Drift[d.kind] > before })
		b.untilHolds(nodes...)
	}
	if b.log.count("ip route add 10.244.2.0/24") == 0 {
		t.Errorf("the command that repaired the route was not logged:\n%s", b.log.b.String())
	}
}

func TestPodsComeAndGoWithoutBeingDrift(t *testing.T) {
	b := newBench(t)
	b.start()
	b.publish(node(1), node(2))
	b.untilHolds(node(1), node(2))
	r := b.attach("c1", "10.244.1.5")
	b.until("the pod has a route", func() bool { _, ok := b.route("10.244.1.5/32"); return ok })

	if err := b.fake.Damage(kernel.LinkDel{Name: r.HostLink}); err != nil {
		t.Fatal(err)
	}
	if err := b.records().Remove("c1", "eth0"); err != nil {
		t.Fatal(err)
	}
	b.until("the pod is forgotten", func() bool { return b.loop.Status().Pods == 0 })
	if drift := b.loop.Status().Drift; len(drift) != 0 {
		t.Errorf("drift %v", drift)
	}
}

func TestRecordsOfAnEarlierBootAreIgnored(t *testing.T) {
	b := newBench(t)
	b.attach("c1", "10.244.1.5")
	b.cfg.BootID = "boot-b"
	b.start()
	b.publish(node(1), node(2))
	b.untilHolds(node(1), node(2))
	if _, ok := b.route("10.244.1.5/32"); ok {
		t.Error("a record of an earlier boot has a route")
	}
}

func TestRecordsTornByAPowerCutAreRemovedInTheNextBoot(t *testing.T) {
	b := newBench(t)
	if err := b.cfg.StateDir.WriteNode(statedir.Node{BootID: "boot-a", Name: "n1", PodCIDRs: node(1).PodCIDRs, MTU: 1450}); err != nil {
		t.Fatal(err)
	}
	b.attach("whole", "10.244.1.5")
	torn := b.cfg.StateDir.Endpoints() + "/torn-eth0.json"
	if err := os.WriteFile(torn, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	b.cfg.BootID = "boot-b"
	b.start()
	b.publish(node(1), node(2))
	b.untilHolds(node(1), node(2))
	if _, err := os.Stat(torn); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the torn record: %v", err)
	}
	if _, err := (endpoint.Store{Dir: b.cfg.StateDir.Endpoints()}).Read("whole", "eth0"); err != nil {
		t.Errorf("the whole record, which DEL will ask for: %v", err)
	}
	if problems := b.loop.Status().Problems; len(problems) > 0 {
		t.Errorf("problems %q", problems)
	}
}

func TestDamagedRecordKeepsThePodsPath(t *testing.T) {
	b := newBench(t)
	b.attach("c1", "10.244.1.5")
	b.start()
	b.publish(node(1), node(2))
	b.until("the pod has a route", func() bool { _, ok := b.route("10.244.1.5/32"); return ok })
	path := b.cfg.StateDir.Endpoints() + "/c1-eth0.json"
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	b.until("the damage is told", func() bool { return strings.Contains(strings.Join(b.loop.Status().Problems, ""), path) })
	if _, ok := b.route("10.244.1.5/32"); !ok {
		t.Error("the pod lost its route")
	}
}

// TestAnyStateFollowsAnyOther replays a table of states in random order.
func TestLostRecordKeepsThePodsPathAndIsTold(t *testing.T) {
	b := newBench(t)
	r := b.attach("c1", "10.244.1.5")
	b.start()
	b.publish(node(1), node(2))
	b.until("the pod has a route", func() bool { _, ok := b.route("10.244.1.5/32"); return ok })
	if err := os.RemoveAll(b.cfg.StateDir.Endpoints()); err != nil {
		t.Fatal(err)
	}
	b.until("the loss is told", func() bool { return strings.Contains(strings.Join(b.loop.Status().Problems, ""), r.HostLink) })
	if _, ok := b.route("10.244.1.5/32"); !ok {
		t.Error("the pod lost its route")
	}
	if err := b.records().Write(r); err != nil {
		t.Fatal(err)
	}
	b.until("all is well again", func() bool { return len(b.loop.Status().Problems) == 0 })
}

func TestAnyStateFollowsAnyOther(t *testing.T) {
	moved := node(2)
	moved.Addresses = []netip.Addr{netip.MustParseAddr("192.168.1.77"), netip.MustParseAddr("fd00:1::77")}
	otherSelf := node(1)
	otherSelf.PodCIDRs = node(8).PodCIDRs
	otherAddress := node(1)
	otherAddress.Addresses = []netip.Addr{netip.MustParseAddr("192.168.1.99")}
	only4 := node(2)
	only4.PodCIDRs = only4.PodCIDRs[:1]
	swapped := node(2)
	swapped.PodCIDRs = node(3).PodCIDRs
	states := [][]cluster.Node{
		{node(1)},
		{node(1), node(2)},
		{node(1), node(2), node(3)},
		{node(1), moved, node(3)},
		{node(1), only4},
		{node(1), swapped},
		{otherSelf, node(2)},
		{otherAddress, node(2), node(3)},
	}
	for _, mode := range []topology.Mode{topology.VXLAN, topology.IPIPCrossSubnet, topology.Direct} {
		t.Run(string(mode), func(t *testing.T) {
			b := newBench(t)
			b.cfg.Topology.Mode = mode
			b.attach("c1", "10.244.1.5")
			b.start()
			for range 5 {
				for _, n := range rand.Perm(len(states)) {
					b.publish(states[n]...)
					b.untilHolds(states[n]...)
				}
			}
			if drift := b.loop.Status().Drift; len(drift) != 0 {
				t.Errorf("wanted changes were counted as drift: %v", drift)
			}
		})
	}
}

func TestModeMayChangeBetweenRuns(t *testing.T) {
	b := newBench(t)
	for _, mode := range []topology.Mode{topology.VXLAN, topology.IPIP, topology.Direct, topology.VXLANCrossSubnet, topology.IPIPCrossSubnet, topology.VXLAN} {
		b.cfg.Topology.Mode = mode
		b.start()
		b.publish(node(1), node(2))
		b.untilHolds(node(1), node(2))
		b.stop()
	}
}

func TestOwnPodCIDRChanges(t *testing.T) {
	b := newBench(t)
	b.start()
	b.publish(node(1), node(2))
	b.untilHolds(node(1), node(2))
	self := node(1)
	self.PodCIDRs = []netip.Prefix{netip.MustParsePrefix("10.99.0.0/24")}
	b.publish(self, node(2))
	b.untilHolds(self, node(2))
	n, err := b.cfg.StateDir.ReadNode()
	if err != nil || n.PodCIDRs[0] != self.PodCIDRs[0] {
		t.Errorf("node.json says %v (%v)", n.PodCIDRs, err)
	}
	s, err := b.fake.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := map[kernel.Address]struct{}{{Link: kernel.VXLANLink, Prefix: netip.MustParsePrefix("10.99.0.1/32")}: {}}
	if diff := cmp.Diff(want, s.State.Addresses, cmp.Comparer(func(a, b kernel.Address) bool { return a == b })); diff != "" {
		t.Errorf("tunnel addresses (-want +got):\n%s", diff)
	}
}

func TestLastGoodNodesStandWhenTheSourceTurnsBad(t *testing.T) {
	b := newBench(t)
	b.start()
	b.publish(node(1), node(2))
	b.untilHolds(node(1), node(2))
	applied := len(b.fake.Applied())
	for range 3 {
		b.complain(errors.New("file is empty"))
	}
	b.until("the reason is told", func() bool { return b.loop.Status().Nodes.Error == "file is empty" })
	if r := b.loop.Status(); !r.Ready || len(r.Paths) != 2 {
		t.Errorf("status %+v", r)
	}
	if n := len(b.fake.Applied()); n != applied {
		t.Errorf("%d operations", n-applied)
	}
	b.complain(nil)
	b.until("recovery is told", func() bool { return b.loop.Status().Nodes.Error == "" })
	if n := b.log.count("last good list stands"); n != 1 {
		t.Errorf("the reason was logged %d times", n)
	}
}

func TestLastKnownNodesServeWhenTheSourceIsAway(t *testing.T) {
	tests := []struct {
		name  string
		spoil func(b *bench)
	}{
		{"it cannot be read", func(b *bench) { b.complain(errors.New("no such file")) }},
		{"it says nothing", func(*bench) {}},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			b := newBench(t)
			b.cfg.Patience = 50 * time.Millisecond
			if err := cluster.Remember(b.cfg.StateDir.PeersFile(), []cluster.Node{node(1), node(2)}); err != nil {
				t.Fatal(err)
			}
			b.start()
			tc.spoil(b)
			b.untilHolds(node(1), node(2))
			if origin := b.loop.Status().Nodes.Origin; origin != b.cfg.StateDir.PeersFile() {
				t.Errorf("origin %q", origin)
			}
			b.publish(node(1), node(3))
			b.untilHolds(node(1), node(3))
		})
	}
}

func TestNodeThatIsNotListedKeepsWhatIsThere(t *testing.T) {
	b := newBench(t)
	b.start()
	b.publish(node(1), node(2))
	b.untilHolds(node(1), node(2))
	before := b.fake.String()
	b.publish(node(2), node(3))
	b.until("the reason is told", func() bool { return !b.loop.Status().Ready })
	reason := b.loop.Status().Reason
	for _, part := range []string{`"n1"`, "nodes.yaml", "n2, n3"} {
		if !strings.Contains(reason, part) {
			t.Errorf("reason %q does not say %q", reason, part)
		}
	}
	if diff := cmp.Diff(before, b.fake.String()); diff != "" {
		t.Errorf("kernel (-before +after):\n%s", diff)
	}
}

func TestDecisionIsLoggedOnceAndAgainWhenItChanges(t *testing.T) {
	b := newBench(t)
	b.cfg.Topology.Mode = topology.VXLANCrossSubnet
	b.start()
	b.publish(node(1), node(2))
	b.untilHolds(node(1), node(2))
	b.publish(node(1), node(2), node(3))
	b.untilHolds(node(1), node(2), node(3))
	if n := b.log.count("msg=path peer=n2"); n != 2 { // one of each family
		t.Errorf("n2's paths were logged %d times", n)
	}
	far := node(2)
	far.Addresses = []netip.Addr{netip.MustParseAddr("192.168.2.12"), netip.MustParseAddr("fd00:2::12")}
	b.publish(node(1), far, node(3))
	b.untilHolds(node(1), far, node(3))
	if n := b.log.count("msg=path peer=n2"); n != 4 {
		t.Errorf("n2's paths were logged %d times after they changed", n)
	}
}

func TestStopLeavesEverything(t *testing.T) {
	b := newBench(t)
	b.start()
	b.publish(node(1), node(2))
	b.untilHolds(node(1), node(2))
	before := b.fake.String()
	b.stop()
	if diff := cmp.Diff(before, b.fake.String()); diff != "" {
		t.Errorf("kernel (-running +stopped):\n%s", diff)
	}
	if !b.exists(b.cfg.Conflist.Path()) || !b.exists(b.cfg.StateDir.NodeFile()) {
		t.Error("files are gone")
	}
}

func TestSourceThatCanNeverWorkEndsTheLoop(t *testing.T) {
	b := newBench(t)
	loop := New(b.cfg, b.fake, brokenSource{}, newDiscardLog())
	if err := loop.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "nodes.yaml") {
		t.Errorf("error %v", err)
	}
}

type brokenSource struct{}

func (brokenSource) Run(context.Context, func([]cluster.Node), func(error)) error {
	return errors.New("never")
}
