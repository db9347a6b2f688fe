package probe

import (
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ropeway-net/ropeway/daemon/status"
	"github.com/ropeway-net/ropeway/daemon/topology"
)

// network is what a prober talks to in a test: every address answers after a
// millisecond unless it is said not to. The time is that of synctest.
type network struct {
	t *testing.T

	mu      sync.Mutex
	silent  map[netip.Addr]bool
	refuse  error // of Send
	open    error
	sent    []time.Time
	sentTo  map[netip.Addr]int
	notices []status.Notice
	results map[Result]int
	forge   func(Reply) Reply
	log     strings.Builder
}

func newNetwork(t *testing.T) *network {
	return &network{t: t, silent: map[netip.Addr]bool{}, sentTo: map[netip.Addr]int{}, results: map[Result]int{}}
}

// Write takes the log.
func (n *network) Write(b []byte) (int, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.log.Write(b)
}

func (n *network) logged(part string) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return strings.Count(n.log.String(), part)
}

func (n *network) set(silent bool, addresses ...string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, a := range addresses {
		n.silent[netip.MustParseAddr(a)] = silent
	}
}

func (n *network) count(r Result) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.results[r]
}

func (n *network) told() []status.Notice {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.notices)
}

// fakeConn is one connection to a network.
type fakeConn struct {
	n       *network
	replies chan Reply
	closed  chan struct{}
}

func (n *network) conn(Family) (Conn, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.open != nil {
		return nil, n.open
	}
	return &fakeConn{n, make(chan Reply, 10_000), make(chan struct{})}, nil
}

func (c *fakeConn) Send(to netip.Addr, token Token) error {
	c.n.mu.Lock()
	defer c.n.mu.Unlock()
	if c.n.refuse != nil {
		return c.n.refuse
	}
	c.n.sent = append(c.n.sent, time.Now())
	c.n.sentTo[to]++
	if c.n.silent[to] {
		return nil
	}
	reply := Reply{From: to, Token: token}
	if c.n.forge != nil {
		reply = c.n.forge(reply)
	}
	time.AfterFunc(time.Millisecond, func() { c.replies <- reply })
	return nil
}

func (c *fakeConn) Receive() (Reply, error) {
	select {
	case r := <-c.replies:
		return r, nil
	case <-c.closed:
		return Reply{}, net.ErrClosed
	}
}

func (c *fakeConn) Close() error { close(c.closed); return nil }

// prober is one at work on the network.
func (n *network) prober(targets []Target) (*Prober, func()) {
	p := New(Config{
		Self: "n1", Port: 4789, Open: n.conn, Log: slog.New(slog.NewTextHandler(n, nil)),
		Notify: func(x status.Notice) {
			n.mu.Lock()
			defer n.mu.Unlock()
			n.notices = append(n.notices, x)
		},
		Observe: func(r Result, _ time.Duration) {
			n.mu.Lock()
			defer n.mu.Unlock()
			n.results[r]++
		},
	})
	done := make(chan struct{})
	ctx, cancel := contextOf(n.t)
	go func() { p.Run(ctx); close(done) }()
	p.Set(targets)
	return p, func() { cancel(); <-done }
}

// peers makes targets n2, n3 … in tunnels.
func peers(count int) []Target {
	var out []Target
	for i := 2; i < 2+count; i++ {
		out = append(out, Target{
			Peer: fmt.Sprintf("n%d", i), Via: topology.ViaVXLAN,
			Address: netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 1}),
			Node:    netip.AddrFrom4([4]byte{192, 168, byte(i >> 8), byte(i)}),
		})
	}
	return out
}

// inBubble runs a test on a clock of its own.
func inBubble(t *testing.T, f func(t *testing.T, n *network)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { f(t, newNetwork(t)) })
}

// after lets time pass.
func after(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}
