package lab

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ropeway-net/ropeway/daemon/topology"
)

// programs are what the tests run: those of $ROPEWAY_BIN, else built once.
var programs = sync.OnceValues(func() (string, error) {
	if dir := os.Getenv("ROPEWAY_BIN"); dir != "" {
		return dir, nil
	}
	dir, err := os.MkdirTemp("", "ropeway-lab-bin-*")
	if err != nil {
		return "", err
	}
	return dir, Build(context.Background(), dir)
})

func TestMain(m *testing.M) {
	code := m.Run()
	if dir, err := programs(); err == nil && os.Getenv("ROPEWAY_BIN") == "" {
		_ = os.RemoveAll(dir)
	}
	os.Exit(code)
}

// cluster3 makes a lab whose daemons run.
func cluster3(t *testing.T, options Options) *Lab {
	t.Helper()
	bin, err := programs()
	if err != nil {
		t.Fatal(err)
	}
	before, err := SnapshotMachine()
	if err != nil {
		t.Fatal(err)
	}
	options.BinDir = bin
	l, err := New(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		expectNothingLeft(t, before, l.Name())
	})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := l.Start(ctx); err != nil {
		t.Fatal(err)
	}
	return l
}

func attach(t *testing.T, l *Lab, node, name string) *Pod {
	t.Helper()
	p, err := l.Node(node).AttachPod(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func expectTalk(t *testing.T, from, to *Pod) {
	t.Helper()
	for _, address := range to.Addresses {
		server, err := to.ServeHTTP(t.Context(), netip.AddrPortFrom(address, 0))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		answer, err := from.GetHTTP(ctx, server.Addr)
		cancel()
		if own := from.Address(FamilyOf(address)); err != nil || answer.Source != own {
			t.Errorf("%s to %s at %s: server saw %s, want %s: %v", from.Name, to.Name, address, answer.Source, own, err)
		}
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestPodsOfALabTalkAndLeaveWithoutATrace(t *testing.T) {
	l := cluster3(t, Options{Mode: topology.VXLANCrossSubnet})
	a, b, c := attach(t, l, "n1", "a"), attach(t, l, "n2", "b"), attach(t, l, "n3", "c")
	for _, pair := range [][2]*Pod{{a, b}, {a, c}, {c, b}} {
		expectTalk(t, pair[0], pair[1])
	}
	for _, p := range l.Pods() {
		if err := p.Check(t.Context()); err != nil {
			t.Error(err)
		}
		if err := p.Detach(t.Context()); err != nil {
			t.Error(err)
		}
	}
	for _, n := range l.Nodes() {
		records, err := os.ReadDir(n.StateDir().Endpoints())
		if err != nil || len(records) != 0 {
			t.Errorf("node %s keeps records %v (%v)", n.Name, records, err)
		}
	}
}

func TestPodIsAttachedWhileTheDaemonIsDead(t *testing.T) {
	l := cluster3(t, Options{Subnet1: []string{"n1"}, Subnet2: []string{"n3"}})
	if err := l.Node("n1").Kill9(); err != nil {
		t.Fatal(err)
	}
	if l.Node("n1").Running() {
		t.Error("the killed daemon runs")
	}
	expectTalk(t, attach(t, l, "n1", "a"), attach(t, l, "n3", "b"))
	if err := l.Start(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestStatusNamesThePathOfEveryPeer(t *testing.T) {
	l := cluster3(t, Options{Mode: topology.VXLANCrossSubnet, Pods: IPv4})
	report, err := l.Node("n1").Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]topology.Via{}
	for _, p := range report.Paths {
		got[p.Peer] = p.Via
	}
	if got["n2"] != topology.ViaDirect || got["n3"] != topology.ViaVXLAN {
		t.Errorf("paths are %v, want n2 direct and n3 by vxlan", got)
	}
}

func TestWaitReadySaysWhyADaemonEnded(t *testing.T) {
	l := cluster3(t, Options{Subnet1: []string{"n1"}})
	n := l.Node("n1")
	if err := n.StopDaemon(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := n.WriteConfig(map[string]any{"mode": "teleport"}); err != nil {
		t.Fatal(err)
	}
	if err := n.StartDaemon(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	err := n.WaitReady(ctx)
	if err == nil || errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "teleport") {
		t.Errorf("got %v, want the daemon's complaint about teleport", err)
	}
}

func TestModeChangesOnARunningLab(t *testing.T) {
	l := cluster3(t, Options{})
	a, c := attach(t, l, "n1", "a"), attach(t, l, "n3", "c")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := l.SetMode(ctx, topology.VXLANCrossSubnet); err != nil {
		t.Fatal(err)
	}
	if err := l.WaitReady(ctx); err != nil {
		t.Fatal(err)
	}
	expectTalk(t, a, c)
}
