package probe

import (
	"context"
	"errors"
	"sync"
	"syscall"
	"time"
)

// reopen is the time after which a family that could not be probed is tried
// again: a capability does not come back often.
const reopen = 5 * time.Minute

// run is the state of [Prober.Run], which one goroutine owns.
type run struct {
	*Prober
	schedule *schedule
	links    map[Family]*link
	replies  chan Reply
	broken   chan *link
	clear    time.Time // no request is sent before
	news     news
	wait     sync.WaitGroup
}

// link is a connection, or the time at which to try for one again.
type link struct {
	conn  Conn
	retry time.Time
}

// Run asks the peers until ctx ends.
func (p *Prober) Run(ctx context.Context) {
	r := &run{Prober: p, schedule: newSchedule(), links: map[Family]*link{}, replies: make(chan Reply), broken: make(chan *link), news: newNews()}
	ctx, cancel := context.WithCancel(ctx)
	defer r.wait.Wait()
	defer r.close()
	defer cancel()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		r.arm(timer)
		select {
		case <-ctx.Done():
			return
		case <-p.changed:
			targets := p.wanted()
			r.schedule.set(targets, time.Now(), p.cfg.interval(len(targets)))
			p.publish(r.schedule)
		case reply := <-r.replies:
			r.answered(reply)
		case l := <-r.broken:
			_ = l.conn.Close()
			l.conn, l.retry = nil, time.Now().Add(r.cfg.Interval)
		case <-timer.C:
			r.act(ctx, time.Now())
		}
	}
}

// arm sets the timer to what is due next. Nothing is due without peers.
func (r *run) arm(timer *time.Timer) {
	next := time.Now().Add(time.Hour)
	if p := r.schedule.first(); p != nil {
		next = p.next
		if p.asked == nil && next.Before(r.clear) {
			next = r.clear
		}
	}
	if due := r.news.due; !due.IsZero() && due.Before(next) {
		next = due
	}
	timer.Reset(time.Until(next))
}

// act does what is due.
func (r *run) act(ctx context.Context, now time.Time) {
	if due := r.news.due; !due.IsZero() && !now.Before(due) {
		r.tell()
	}
	p := r.schedule.first()
	switch {
	case p == nil || now.Before(p.next):
	case p.asked != nil:
		r.lost(p, now)
	case !now.Before(r.clear):
		r.ask(ctx, p, now)
	}
}

// ask sends a request, inside the tunnel or outside.
func (r *run) ask(ctx context.Context, p *peer, now time.Time) {
	q := &request{token: newToken(), to: p.target.Address, sent: now, outside: p.outside}
	if q.outside {
		q.to = p.target.Node
	}
	conn := r.conn(ctx, familyOf(q.to), now)
	if conn == nil {
		p.outside = false
		r.schedule.at(p, now.Add(jitter(r.interval())))
		return
	}
	r.clear = now.Add(r.cfg.Gap)
	err := conn.Send(q.to, q.token)
	switch {
	case errors.Is(err, syscall.EPERM), errors.Is(err, syscall.EACCES):
		// This node's firewall drops it, which says nothing about the peer.
		p.outside = false
		r.block(p)
		r.schedule.at(p, now.Add(jitter(r.interval())))
		return
	case errors.Is(err, syscall.ENOBUFS), errors.Is(err, syscall.EAGAIN), errors.Is(err, syscall.ENOMEM):
		r.schedule.at(p, now.Add(r.cfg.Timeout))
		return
	}
	r.unblock(p)
	if !q.outside {
		p.cause = err // no route, for instance: as good as lost
	}
	r.schedule.ask(p, q)
	r.schedule.at(p, now.Add(r.cfg.Timeout))
}

func (r *run) interval() time.Duration { return r.cfg.interval(len(r.schedule.peers)) }

// answered takes a reply. One that nobody asked for, or that comes from another
// address than was asked, is none.
func (r *run) answered(reply Reply) {
	p := r.schedule.byToken[reply.Token]
	if p == nil || p.asked.to != reply.From {
		return
	}
	q, now := p.asked, time.Now()
	r.schedule.settle(p)
	if q.outside {
		r.silent(p, true, now)
		return
	}
	r.cfg.Observe(Answered, now.Sub(q.sent))
	p.heard, p.lost, p.cause = true, 0, nil
	r.schedule.at(p, now.Add(jitter(r.interval())))
	if !p.since.IsZero() {
		r.cfg.Log.Info("peer is reachable again", "peer", p.target.Peer, "via", p.target.Via, "after", now.Sub(p.since).Round(time.Second))
		p.since, p.reason, p.nodeAnswers = time.Time{}, "", false
		r.publish(r.schedule)
		r.news.back(p.target, now.Add(r.cfg.Gather))
	}
}

// lost takes note of a request that nobody answered in time.
func (r *run) lost(p *peer, now time.Time) {
	q := p.asked
	r.schedule.settle(p)
	if q.outside {
		r.silent(p, false, now)
		return
	}
	r.cfg.Observe(Lost, now.Sub(q.sent))
	p.lost++
	switch {
	case p.lost < losses:
		r.schedule.at(p, now.Add(jitter(r.cfg.Timeout)))
	case !p.heard && now.Sub(p.added) < r.cfg.Grace:
		// A node that joins is in the list before its daemon runs.
		r.schedule.at(p, now.Add(jitter(r.interval())))
	case p.target.tunnelled():
		p.outside = true
		r.schedule.at(p, now)
	default:
		r.silent(p, false, now)
	}
}

// silent makes a peer unreachable, or says so anew.
func (r *run) silent(p *peer, nodeAnswers bool, now time.Time) {
	p.outside = false
	r.schedule.at(p, now.Add(jitter(r.interval())))
	reason := p.target.reason(nodeAnswers, r.cfg.Port, p.cause)
	if !p.since.IsZero() && p.reason == reason {
		return
	}
	if p.since.IsZero() {
		p.since = now
		r.cfg.Log.Warn("peer is unreachable", "peer", p.target.Peer, "via", p.target.Via, "cause", reason)
		r.news.gone(p.target, reason, now.Add(r.cfg.Gather))
	}
	p.reason, p.nodeAnswers = reason, nodeAnswers
	r.publish(r.schedule)
}

// block notes that this node's own firewall lets no request to a peer out.
func (r *run) block(p *peer) {
	if p.blocked {
		return
	}
	p.blocked = true
	if r.schedule.blocked++; r.schedule.blocked == 1 {
		r.cfg.Log.Warn("this node's firewall drops echo requests, peers that they are for are not probed; let ICMP out, or set probe: false", "peer", p.target.Peer)
	}
	r.publish(r.schedule)
}

// unblock takes that back.
func (r *run) unblock(p *peer) {
	if p.blocked {
		p.blocked = false
		r.schedule.blocked--
		r.publish(r.schedule)
	}
}

// conn returns the connection of a family, nil if it cannot be had now.
func (r *run) conn(ctx context.Context, family Family, now time.Time) Conn {
	l := r.links[family]
	if l == nil {
		l = &link{}
		r.links[family] = l
	}
	if l.conn != nil || now.Before(l.retry) {
		return l.conn
	}
	conn, err := r.cfg.Open(family)
	if err != nil {
		l.retry = now.Add(reopen)
		r.hindered(family, err)
		return nil
	}
	r.unhindered(family)
	l.conn = conn
	r.wait.Go(func() {
		for {
			reply, err := conn.Receive()
			if err != nil {
				select {
				case r.broken <- l:
				case <-ctx.Done():
				}
				return
			}
			select {
			case r.replies <- reply:
			case <-ctx.Done():
				return
			}
		}
	})
	return conn
}

func (r *run) close() {
	for _, l := range r.links {
		if l.conn != nil {
			_ = l.conn.Close()
		}
	}
}
