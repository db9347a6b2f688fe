package reconcile

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/ropeway-net/ropeway/daemon/cluster"
	"github.com/ropeway-net/ropeway/daemon/status"
	"github.com/ropeway-net/ropeway/daemon/topology"
	"github.com/ropeway-net/ropeway/endpoint"
	"github.com/ropeway-net/ropeway/kernel"
	"github.com/ropeway-net/ropeway/statedir"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what must come true.
const patience = 10 * time.Second

// scripted is a source that says what the test tells it to.
type scripted struct {
	steps chan func(publish func([]cluster.Node), report func(error))
}

func (s scripted) Run(ctx context.Context, publish func([]cluster.Node), report func(error)) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case step := <-s.steps:
			step(publish, report)
		}
	}
}

// bench is a node with a fake kernel and real directories.
type bench struct {
	t      *testing.T
	cfg    Config
	fake   *kernel.Fake
	kernel kernel.Kernel // what the loop sees, the fake unless a test wraps it
	source scripted
	log    *lines
	loop   *Loop
	stop   func()
	// published is when the source had spoken last.
	published time.Time
}

// lines collects what is logged.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) count(part string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.b.String(), part)
}

func newBench(t *testing.T) *bench {
	t.Helper()
	dir := t.TempDir()
	fake := kernel.NewFake(
		kernel.Interface{Name: "lo", MTU: 65536, Up: true, Addresses: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/8")}},
		kernel.Interface{Name: "eth0", MTU: 1500, Up: true, Addresses: []netip.Prefix{
			netip.MustParsePrefix("192.168.1.11/24"), netip.MustParsePrefix("192.168.1.99/24"), netip.MustParsePrefix("fd00:1::11/64"),
		}},
	)
	if err := fake.Damage(kernel.SysctlSet{Key: "net/ipv4/ip_forward", Value: "0"}); err != nil {
		t.Fatal(err)
	}
	return &bench{
		t:    t,
		fake: fake, kernel: fake,
		source: scripted{steps: make(chan func(func([]cluster.Node), func(error)), 10)},
		log:    &lines{},
		cfg: Config{
			Node:       "n1",
			Topology:   topology.Config{Mode: topology.VXLAN, VNI: 114, Port: 4789, Masquerade: true},
			SourceName: "nodes file nodes.yaml",
			StateDir:   statedir.Dir(filepath.Join(dir, "state")),
			BootID:     "boot-a",
			Conflist: Conflist{
				Dir: filepath.Join(dir, "net.d"), Network: "ropeway",
				StateDir: statedir.Dir(filepath.Join(dir, "state")), NetworksDir: filepath.Join(dir, "networks"),
			},
		},
	}
}

func (b *bench) start() {
	b.t.Helper()
	ctx, cancel := context.WithCancel(b.t.Context())
	b.loop = New(b.cfg, b.kernel, b.source, slog.New(slog.NewTextHandler(b.log, nil)))
	done := make(chan error, 1)
	go func() { done <- b.loop.Run(ctx) }()
	b.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			b.t.Errorf("Run: %v", err)
		}
	})
	b.t.Cleanup(b.stop)
}

func (b *bench) publish(nodes ...cluster.Node) {
	done := make(chan struct{})
	b.source.steps <- func(publish func([]cluster.Node), _ func(error)) { publish(nodes); close(done) }
	<-done
	b.published = time.Now()
}

func (b *bench) complain(err error) {
	b.source.steps <- func(_ func([]cluster.Node), report func(error)) { report(err) }
}

// until waits for what must come true.
func (b *bench) until(what string, holds func() bool) {
	b.t.Helper()
	for end := time.Now().Add(patience); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			b.t.Fatalf("%s did not come true; status %+v\nlog:\n%s", what, b.loop.Status(), b.log.b.String())
		}
	}
}

// untilHolds waits until the loop is ready with what the source said last, and
// the kernel holds what these nodes make of it.
func (b *bench) untilHolds(nodes ...cluster.Node) {
	b.t.Helper()
	b.until("the kernel holds what it should", func() bool {
		r := b.loop.Status()
		if !r.Ready || r.Last.Time.Add(-r.Last.Duration).Before(b.published) {
			return false
		}
		d, err := Decide(b.t.Context(), b.cfg, b.fake, nodes)
		return err == nil && d.Plan.Empty()
	})
}

// untilNext waits for the end of a pass that began after now.
func (b *bench) untilNext() status.Report {
	b.t.Helper()
	asked := time.Now()
	b.until("another pass", func() bool {
		last := b.loop.Status().Last
		return last.Time.Add(-last.Duration).After(asked)
	})
	return b.loop.Status()
}

func (b *bench) exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// node makes a node of the subnet and with the pod CIDRs of its number.
func node(number int) cluster.Node {
	return cluster.Node{
		Name:      fmt.Sprintf("n%d", number),
		Addresses: []netip.Addr{netip.MustParseAddr(fmt.Sprintf("192.168.1.1%d", number)), netip.MustParseAddr(fmt.Sprintf("fd00:1::1%d", number))},
		PodCIDRs:  []netip.Prefix{netip.MustParsePrefix(fmt.Sprintf("10.244.%d.0/24", number)), netip.MustParsePrefix(fmt.Sprintf("fd10:244:0:%d::/64", number))},
	}
}

// attach does what the plugin does for a pod, as far as the daemon sees it.
func (b *bench) attach(id, address string) endpoint.Record {
	b.t.Helper()
	r := endpoint.Record{
		BootID: "boot-a", ContainerID: id, IfName: "eth0", HostLink: endpoint.HostLink(id, "eth0"), Network: "ropeway",
		MAC: kernel.MAC{2, 0, 0, 0, 0, 1}, Addresses: []netip.Addr{netip.MustParseAddr(address)},
		IPAM: endpoint.IPAM{Type: "ropeway-ipam", DataDir: b.cfg.Conflist.NetworksDir}, Pod: endpoint.Pod{Namespace: "default", Name: "web-" + id},
	}
	if err := b.records().Write(r); err != nil {
		b.t.Fatal(err)
	}
	b.fake.AddPodLink(r.HostLink)
	return r
}

func (b *bench) records() endpoint.Store { return endpoint.Store{Dir: b.cfg.StateDir.Endpoints()} }

func route(prefix string) kernel.RouteKey {
	return kernel.RouteKey{Dst: netip.MustParsePrefix(prefix)}
}

func (b *bench) route(prefix string) (kernel.Route, bool) {
	b.t.Helper()
	s, err := b.fake.Snapshot(b.t.Context())
	if err != nil {
		b.t.Fatal(err)
	}
	r, ok := s.State.Routes[route(prefix)]
	return r, ok
}
