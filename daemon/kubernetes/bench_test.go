package kubernetes

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/ropeway-net/ropeway/daemon/cluster"
)

func TestMain(m *testing.M) {
	QuietLibrary()
	goleak.VerifyTestMain(m)
}

// patience is how long a test waits for what must come true.
const patience = 20 * time.Second

// bench is a daemon's API beside a server, and what it has said.
type bench struct {
	*testing.T
	api  *API
	stop func()

	mu        sync.Mutex
	published [][]cluster.Node
	reported  []string // "" for nil
	log       bytes.Buffer
}

// hastened makes an API whose waiting times suit a test.
func hastened(cfg Config) *API {
	a := New(cfg)
	a.look, a.grace = 20*time.Millisecond, 50*time.Millisecond
	a.calm = calm{unready: 100 * time.Millisecond, rewrite: 50 * time.Millisecond, event: 200 * time.Millisecond, gather: 20 * time.Millisecond}
	return a
}

// start runs the API of node n1.
func start(t *testing.T, kubeconfig string) *bench {
	t.Helper()
	b := &bench{T: t}
	b.api = hastened(Config{Node: "n1", Kubeconfig: kubeconfig, UserAgent: "ropewayd/test", Log: slog.New(slog.NewTextHandler(b, nil))})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- b.api.Run(ctx, b.publish, b.report) }()
	b.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(b.stop)
	return b
}

func (b *bench) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.log.Write(p)
}

func (b *bench) logged() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.log.String()
}

func (b *bench) publish(nodes []cluster.Node) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.published = append(b.published, nodes)
}

func (b *bench) report(err error) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.reported = append(b.reported, text)
}

func (b *bench) publications() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.published)
}

// last returns the list that was published last, by name.
func (b *bench) last() map[string]cluster.Node {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.published) == 0 {
		return nil
	}
	out := map[string]cluster.Node{}
	for _, n := range b.published[len(b.published)-1] {
		out[n.Name] = n
	}
	return out
}

func (b *bench) reports() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]string(nil), b.reported...)
}

// complaint is what was reported last.
func (b *bench) complaint() string {
	all := b.reports()
	if len(all) == 0 {
		return ""
	}
	return all[len(all)-1]
}

func (b *bench) until(what string, holds func() bool) {
	b.Helper()
	for end := time.Now().Add(patience); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			b.Fatalf("%s did not come true; last list %+v\nreports %q\nlog:\n%s", what, b.last(), b.reports(), b.logged())
		}
	}
}

func (b *bench) untilNode(name string, holds func(cluster.Node) bool) {
	b.Helper()
	b.until("what is known of node "+name, func() bool {
		n, known := b.last()[name]
		return known && holds(n)
	})
}

func (b *bench) untilComplaint(parts ...string) {
	b.Helper()
	b.until("a complaint that says "+strings.Join(parts, ", "), func() bool {
		for _, part := range parts {
			if !strings.Contains(b.complaint(), part) {
				return false
			}
		}
		return true
	})
}
