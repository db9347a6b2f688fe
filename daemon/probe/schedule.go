package probe

import (
	"container/heap"
	"math/rand/v2"
	"net/netip"
	"time"
)

// peer is what is known of one target.
type peer struct {
	target Target
	added  time.Time
	heard  bool // it has answered at least once

	lost        int // requests in a row
	cause       error
	since       time.Time // when it became unreachable; zero: it is reachable
	nodeAnswers bool      // meanwhile, outside the tunnel
	reason      string

	next  time.Time // when something is to be done about it
	asked *request  // that is on its way; nil: none
	// outside says that the next request goes to the node's own address.
	outside bool
	blocked bool // by this node's firewall
	index   int  // in the schedule
}

// request is one echo request.
type request struct {
	token   Token
	to      netip.Addr
	sent    time.Time
	outside bool // to the node's own address, not through the tunnel
}

// schedule orders the peers by when something is to be done about them.
type schedule struct {
	peers   map[Target]*peer
	byToken map[Token]*peer
	blocked int // peers
	queue
}

func newSchedule() *schedule {
	return &schedule{peers: map[Target]*peer{}, byToken: map[Token]*peer{}}
}

// set takes over the targets; what is known of those that stay is kept. New
// ones get their first request spread over an interval.
func (s *schedule) set(targets []Target, now time.Time, interval time.Duration) {
	keep := make(map[Target]bool, len(targets))
	for _, t := range targets {
		keep[t] = true
		if s.peers[t] != nil {
			continue
		}
		p := &peer{target: t, added: now, next: now.Add(rand.N(interval))}
		s.peers[t] = p
		heap.Push(&s.queue, p)
	}
	for t, p := range s.peers {
		if !keep[t] {
			s.settle(p)
			if p.blocked {
				s.blocked--
			}
			heap.Remove(&s.queue, p.index)
			delete(s.peers, t)
		}
	}
}

// at moves a peer to another time.
func (s *schedule) at(p *peer, t time.Time) {
	p.next = t
	heap.Fix(&s.queue, p.index)
}

// ask notes that a request is on its way.
func (s *schedule) ask(p *peer, r *request) {
	p.asked = r
	s.byToken[r.token] = p
}

// settle ends a request, whatever became of it.
func (s *schedule) settle(p *peer) {
	if p.asked != nil {
		delete(s.byToken, p.asked.token)
		p.asked = nil
	}
}

// first is the peer that is due first, nil if there are none.
func (s *schedule) first() *peer {
	if len(s.queue) == 0 {
		return nil
	}
	return s.queue[0]
}

// jitter keeps nodes from asking in step: d, give or take a fifth.
func jitter(d time.Duration) time.Duration { return d*4/5 + rand.N(d*2/5+1) }

// queue implements [heap.Interface].
type queue []*peer

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].next.Before(q[j].next) }
func (q queue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = i, j
}

// Push implements [heap.Interface].
func (q *queue) Push(x any) {
	p := x.(*peer)
	p.index = len(*q)
	*q = append(*q, p)
}

// Pop implements [heap.Interface].
func (q *queue) Pop() any {
	old := *q
	p := old[len(old)-1]
	old[len(old)-1] = nil
	*q = old[:len(old)-1]
	return p
}
