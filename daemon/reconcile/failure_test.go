package reconcile

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ropeway-net/ropeway/kernel"
	"github.com/ropeway-net/ropeway/statedir"
)

func newDiscardLog() *slog.Logger { return slog.New(slog.DiscardHandler) }

func TestOneFailingPeerDoesNotHoldUpTheOthers(t *testing.T) {
	b := newBench(t)
	bad := route("10.244.2.0/24")
	b.fake.FailWith(func(op kernel.Op) error {
		if add, ok := op.(kernel.RouteAdd); ok && add.RouteKey == bad {
			return errors.New("injected")
		}
		return nil
	})
	b.start()
	b.publish(node(1), node(2), node(3))
	b.until("the others have their paths", func() bool {
		_, four := b.route("10.244.3.0/24")
		_, six := b.route("fd10:244:0:2::/64")
		return four && six
	})
	r := b.untilNext()
	if r.Ready || !strings.Contains(r.Reason, "10.244.2.0/24") || !strings.Contains(r.Reason, "injected") {
		t.Errorf("status %+v", r)
	}
	if b.exists(b.cfg.Conflist.Path()) {
		t.Error("the CNI configuration was written although the kernel is not as it should be")
	}
	if !b.exists(b.cfg.StateDir.NodeFile()) {
		t.Error("node.json was not written")
	}
	if n := b.log.count("reconcile failed"); n != 1 {
		t.Errorf("the failure was logged %d times", n)
	}
	b.fake.FailWith(nil)
	b.untilHolds(node(1), node(2), node(3))
	if !b.exists(b.cfg.Conflist.Path()) {
		t.Error("no CNI configuration after the repair")
	}
}

func TestCNIConfigurationIsWrittenAfterEverythingElse(t *testing.T) {
	for name, spoil := range map[string]func(*bench) string{
		"node.json":  func(b *bench) string { return b.cfg.StateDir.NodeFile() },
		"peers.json": func(b *bench) string { return b.cfg.StateDir.PeersFile() },
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			path := spoil(b)
			if err := os.MkdirAll(path, 0o755); err != nil { // a directory cannot be replaced by a file
				t.Fatal(err)
			}
			b.start()
			b.publish(node(1), node(2))
			b.until("the failure is told", func() bool { return strings.Contains(b.loop.Status().Reason, path) })
			if b.exists(b.cfg.Conflist.Path()) {
				t.Errorf("the CNI configuration was written without %s", name)
			}
			if _, ok := b.route("10.244.2.0/24"); !ok {
				t.Error("a file that cannot be written kept the kernel from being repaired")
			}
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			b.until("ready", func() bool { return b.loop.Status().Ready && b.exists(b.cfg.Conflist.Path()) })
		})
	}
}

// hooked calls after each Apply, or before.
type hooked struct {
	kernel.Kernel
	before, after func()
}

func (h hooked) Apply(ctx context.Context, plan kernel.Plan) error {
	h.before()
	err := h.Kernel.Apply(ctx, plan)
	h.after()
	return err
}

func TestSysctlsAreRememberedBeforeTheyChange(t *testing.T) {
	b := newBench(t)
	remembered := true
	b.kernel = hooked{b.fake, func() { remembered = remembered && b.exists(b.cfg.StateDir.SysctlsFile()) }, func() {}}
	b.start()
	b.publish(node(1), node(2))
	b.untilHolds(node(1), node(2))
	b.stop()
	if !remembered {
		t.Error("the kernel was changed before sysctls.json was written")
	}
	m, err := readSysctls(b.cfg.StateDir, "boot-a")
	if err != nil {
		t.Fatal(err)
	}
	if got := m.Values["net/ipv4/ip_forward"]; got != (sysctlValue{Before: "0", Set: "1"}) {
		t.Errorf("remembered %+v", got)
	}
	for key := range m.Values {
		if strings.Contains(key, kernel.TunnelPrefix) {
			t.Errorf("%s vanishes with its device and need not be remembered", key)
		}
	}
}

func TestFightIsBoundedAndSaysWhatKeepsDiffering(t *testing.T) {
	b := newBench(t)
	enemy := kernel.RouteDel{RouteKey: route("10.244.2.0/24")}
	b.kernel = hooked{b.fake, func() {}, func() { _ = b.fake.Damage(enemy) }}
	b.start()
	b.publish(node(1), node(2))
	b.until("the fight is told", func() bool { return strings.Contains(b.loop.Status().Reason, "keep differing") })
	if reason := b.loop.Status().Reason; !strings.Contains(reason, "10.244.2.0/24") {
		t.Errorf("reason %q", reason)
	}
	before := b.fake.Applies()
	b.untilNext()
	b.untilNext()
	if n := b.fake.Applies() - before; n > 3*rounds {
		t.Errorf("%d attempts in two passes", n)
	}
}

func TestPaceBacksOffAfterFailures(t *testing.T) {
	p := newPace()
	defer p.timer.Stop()
	var waits []time.Duration
	for range 8 {
		p.started()
		p.ended(errors.New("x"), 0)
		waits = append(waits, p.fails)
	}
	want := []time.Duration{100 * time.Millisecond, 200 * time.Millisecond, 400 * time.Millisecond, 800 * time.Millisecond, 1600 * time.Millisecond, 3200 * time.Millisecond, 5 * time.Second, 5 * time.Second}
	if !slices.Equal(waits, want) {
		t.Errorf("waits %v, want %v", waits, want)
	}
	p.later()
	if until := time.Until(p.due); until < 4*time.Second {
		t.Errorf("a report from the kernel cut the wait to %s", until)
	}
	p.now()
	if until := time.Until(p.due); until > time.Second {
		t.Errorf("new facts wait %s", until)
	}
	p.started()
	p.ended(nil, 0)
	if p.fails != 0 || !p.due.IsZero() {
		t.Errorf("after success: %+v", p)
	}
}

func TestCleanupRefusesWhilePodsAreAttached(t *testing.T) {
	b := newBench(t)
	b.attach("c1", "10.244.1.5")
	b.start()
	b.publish(node(1), node(2))
	b.untilHolds(node(1), node(2))
	b.stop()
	before := b.fake.String()
	err := Cleanup(t.Context(), b.cfg, b.fake, RefusePods)
	if err == nil || !strings.Contains(err.Error(), "default/web-c1") || !strings.Contains(err.Error(), "--force") {
		t.Fatalf("error %v", err)
	}
	if b.fake.String() != before || !b.exists(b.cfg.Conflist.Path()) {
		t.Error("it did something all the same")
	}
}

func TestCleanupRemovesEveryTrace(t *testing.T) {
	b := newBench(t)
	untouched := b.fake.String()
	r := b.attach("c1", "10.244.1.5")
	b.start()
	b.publish(node(1), node(2))
	b.untilHolds(node(1), node(2))
	b.stop()
	network := b.cfg.Conflist.NetworksDir + "/ropeway"
	for path, content := range map[string]string{
		network + "/10.244.1.5":                  r.ContainerID + "\r\neth0",
		network + "/10.244.1.6":                  "its record is lost\r\neth0",
		network + "/boot_id":                     "boot-a\n",
		network + "/lock":                        "",
		network + "/last_reserved_ip.0":          "10.244.1.5",
		b.cfg.StateDir.Log() + "/ropewayd.log":   "x",
		string(b.cfg.StateDir) + "/.tmp-crashed": "x",
	} {
		if err := os.MkdirAll(path[:strings.LastIndex(path, "/")], 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 { // again, when there is nothing left
		if err := Cleanup(t.Context(), b.cfg, b.fake, DetachPods); err != nil {
			t.Fatal(err)
		}
	}
	s, err := b.fake.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(s.PodLinks) != 0 {
		t.Errorf("pod links %v", s.PodLinks)
	}
	if got := s.State.Sysctls["net/ipv4/ip_forward"]; got != "0" {
		t.Errorf("ip_forward is %s, it was 0 before", got)
	}
	s.State.Sysctls = nil // the fake holds those of vanished links
	if text := s.State.String(); text != "" {
		t.Errorf("left in the kernel:\n%s\nat first:\n%s", text, untouched)
	}
	for _, path := range []string{string(b.cfg.StateDir), b.cfg.Conflist.NetworksDir, b.cfg.Conflist.Path()} {
		if b.exists(path) {
			t.Errorf("%s is still there", path)
		}
	}
}

func TestCleanupLeavesSysctlsThatSomebodyChangedSince(t *testing.T) {
	b := newBench(t)
	b.start()
	b.publish(node(1), node(2))
	b.untilHolds(node(1), node(2))
	b.stop()
	if err := b.fake.Damage(kernel.SysctlSet{Key: "net/ipv4/ip_forward", Value: "2"}); err != nil {
		t.Fatal(err)
	}
	if err := Cleanup(t.Context(), b.cfg, b.fake, RefusePods); err != nil {
		t.Fatal(err)
	}
	s, err := b.fake.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got := s.State.Sysctls["net/ipv4/ip_forward"]; got != "2" {
		t.Errorf("ip_forward is %s, somebody else set it to 2", got)
	}
}

func TestInterfaceThatLosesItsAddressKeepsWhatIsThere(t *testing.T) {
	b := newBench(t)
	b.start()
	b.publish(node(1), node(2))
	b.untilHolds(node(1), node(2))
	b.fake.SetInterface(kernel.Interface{Name: "eth0", MTU: 1500, Up: true, Addresses: []netip.Prefix{netip.MustParsePrefix("10.1.1.1/24")}})
	b.until("the reason is told", func() bool { return strings.Contains(b.loop.Status().Reason, "192.168.1.11") })
	if _, ok := b.route("10.244.2.0/24"); !ok {
		t.Error("the path is gone")
	}
}

func TestSysctlsThatCannotBeRememberedAreNotChanged(t *testing.T) {
	b := newBench(t)
	if err := os.MkdirAll(b.cfg.StateDir.SysctlsFile(), 0o755); err != nil {
		t.Fatal(err)
	}
	b.start()
	b.publish(node(1), node(2))
	b.until("the failure is told", func() bool { return strings.Contains(b.loop.Status().Reason, "sysctl") })
	s, err := b.fake.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got := s.State.Sysctls["net/ipv4/ip_forward"]; got != "0" {
		t.Errorf("ip_forward is %s", got)
	}
	if _, ok := b.route("10.244.2.0/24"); !ok {
		t.Error("the rest was held up")
	}
	if err := os.Remove(b.cfg.StateDir.SysctlsFile()); err != nil {
		t.Fatal(err)
	}
	b.untilHolds(node(1), node(2))
}

func TestDamagedSysctlMemoryKeepsNobodyFromWork(t *testing.T) {
	b := newBench(t)
	if err := statedir.WriteFile(b.cfg.StateDir.SysctlsFile(), []byte("{")); err != nil {
		t.Fatal(err)
	}
	b.start()
	b.publish(node(1), node(2))
	b.untilHolds(node(1), node(2))
	if m, err := readSysctls(b.cfg.StateDir, b.cfg.BootID); err != nil || m.Values["net/ipv4/ip_forward"].Before != "0" {
		t.Errorf("%+v, %v", m, err)
	}
}

func TestNamesOfTemporaryFilesMakeNoNewCause(t *testing.T) {
	a, b := "write /s/.tmp-node.json.123: no space", "write /s/.tmp-node.json.77: no space"
	if !sameCause(a, b) || sameCause(a, "write /s/.tmp-node.json.77: read-only") {
		t.Error("causes are not told apart rightly")
	}
}
