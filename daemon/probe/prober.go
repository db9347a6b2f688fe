package probe

import (
	"cmp"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/ropeway-net/ropeway/daemon/status"
)

// Result is what became of a request.
type Result string

// What can become of a request.
const (
	Answered Result = "answered"
	Lost     Result = "lost"
)

// Results are all there are.
func Results() []Result { return []Result{Answered, Lost} }

// Config is what a prober needs to know. Durations that are zero have the
// defaults that stand beside them.
type Config struct {
	Self string // this node's name
	Port uint16 // of vxlan, for messages
	// Open makes a connection of one family; nil is [Open].
	Open func(Family) (Conn, error)
	Log  *slog.Logger
	// Notify takes what the operator should see, and Observe what became of
	// each request and how long it took. They must not block.
	Notify  func(status.Notice)
	Observe func(Result, time.Duration)

	Gap      time.Duration // between two requests to whomever: 50 ms
	Interval time.Duration // between two to the same peer, at least: 10 s
	Timeout  time.Duration // until a request counts as lost: 1 s
	Grace    time.Duration // for a peer that has never answered yet: 2 min
	Gather   time.Duration // in which changes become one notice: 5 s
}

const (
	// losses in a row make a peer unreachable.
	losses = 3
	// share is the part of the possible requests that the regular ones take;
	// the others are for asking again.
	share = 2. / 3
	// most bounds the list of unreachable peers in a report, which people read.
	most = 100
)

// Prober asks the peers.
type Prober struct {
	cfg     Config
	changed chan struct{} // holds one report

	mu       sync.Mutex
	targets  []Target
	report   status.Reachability
	obstacle map[Family]string
}

// New returns a prober that Run starts.
func New(cfg Config) *Prober {
	cfg.Gap = cmp.Or(cfg.Gap, 50*time.Millisecond)
	cfg.Interval = cmp.Or(cfg.Interval, 10*time.Second)
	cfg.Timeout = cmp.Or(cfg.Timeout, time.Second)
	cfg.Grace = cmp.Or(cfg.Grace, 2*time.Minute)
	cfg.Gather = cmp.Or(cfg.Gather, 5*time.Second)
	if cfg.Open == nil {
		cfg.Open = Open
	}
	if cfg.Notify == nil {
		cfg.Notify = func(status.Notice) {}
	}
	if cfg.Observe == nil {
		cfg.Observe = func(Result, time.Duration) {}
	}
	return &Prober{cfg: cfg, changed: make(chan struct{}, 1), obstacle: map[Family]string{}}
}

// Set says whom to ask from now on. It does not block and may be called with
// what is set already.
func (p *Prober) Set(targets []Target) {
	p.mu.Lock()
	same := slices.Equal(targets, p.targets)
	p.targets = slices.Clone(targets)
	p.mu.Unlock()
	if same {
		return
	}
	select {
	case p.changed <- struct{}{}:
	default:
	}
}

// Reachability is what was found last. It may be called at any time.
func (p *Prober) Reachability() status.Reachability {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := p.report
	r.Unreachable = slices.Clone(r.Unreachable)
	return r
}

func (p *Prober) wanted() []Target {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.targets
}

// publish makes the state known to those who ask.
func (p *Prober) publish(s *schedule) {
	var r status.Reachability
	probed, unreachable, tunnels := map[string]bool{}, map[string]bool{}, map[string]bool{}
	for t, peer := range s.peers {
		probed[t.Peer] = true
		if peer.since.IsZero() {
			continue
		}
		unreachable[t.Peer] = true
		tunnels[t.Peer] = tunnels[t.Peer] || peer.nodeAnswers
		r.Unreachable = append(r.Unreachable, status.Unreachable{
			Peer: t.Peer, Via: t.Via, Address: t.Address, Since: peer.since, NodeAnswers: peer.nodeAnswers, Reason: peer.reason,
		})
	}
	slices.SortFunc(r.Unreachable, func(a, b status.Unreachable) int {
		return cmp.Or(cmp.Compare(a.Peer, b.Peer), cmp.Compare(a.Via, b.Via))
	})
	r.Unreachable = r.Unreachable[:min(len(r.Unreachable), most)]
	r.Probed, r.Silent = len(probed), len(unreachable)
	for _, only := range tunnels {
		if only {
			r.TunnelsOnly++
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	r.Obstacle = p.hindrance()
	if s.blocked > 0 && r.Obstacle == "" {
		r.Obstacle = fmt.Sprintf("this node's firewall drops echo requests to %d peers; let ICMP out, or set probe: false", s.blocked)
	}
	p.report = r
}

// hindrance is why a family cannot be probed.
func (p *Prober) hindrance() string { return cmp.Or(p.obstacle[IPv4], p.obstacle[IPv6]) }

// hindered remembers why a family cannot be probed, and tells it once.
func (p *Prober) hindered(family Family, err error) {
	p.mu.Lock()
	text := err.Error()
	old := p.obstacle[family]
	p.obstacle[family] = text
	p.report.Obstacle = p.hindrance()
	p.mu.Unlock()
	if old != text {
		p.cfg.Log.Warn("peers are not probed", "cause", text)
	}
}

// unhindered takes that back.
func (p *Prober) unhindered(family Family) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.obstacle, family)
	p.report.Obstacle = p.hindrance()
}

// interval is the time between two requests to the same of n targets.
func (c Config) interval(n int) time.Duration {
	return max(c.Interval, time.Duration(float64(n)*float64(c.Gap)/share))
}
