package reconcile

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ropeway-net/ropeway/kernel"
)

func TestQuarrelSlowsDownAndIsForgotten(t *testing.T) {
	var q quarrel
	now := time.Unix(1000, 0)
	told, untold := 0, 0
	for range 1000 { // 100 s
		now = now.Add(100 * time.Millisecond)
		tell, missed := q.repaired(now)
		if tell {
			told++
		}
		untold += missed
	}
	if q.rest != longestRest {
		t.Errorf("rest %s, want %s", q.rest, longestRest)
	}
	if told < 3 || told > 12 {
		t.Errorf("1000 repairs in 100 s made %d log lines", told)
	}
	if untold+told+q.untold != 1000 {
		t.Errorf("%d told, %d told of later, %d not yet: not 1000", told, untold, q.untold)
	}
	q.forget(now.Add(truce + time.Second))
	if q.rest != 0 {
		t.Errorf("rest %s after a truce", q.rest)
	}
}

func TestEnemyInALoopCostsTwoRepairsASecondAndFewLines(t *testing.T) {
	b := newBench(t)
	b.start()
	b.publish(node(1), node(2))
	b.untilHolds(node(1), node(2))
	before := b.fake.Applies()
	for end := time.Now().Add(2 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		_ = b.fake.Damage(kernel.RouteDel{RouteKey: route("10.244.2.0/24")})
	}
	if n := b.fake.Applies() - before; n < 4 || n > 20 {
		t.Errorf("%d repairs in two seconds", n)
	}
	if n := b.log.count("drift repaired"); n > 10 {
		t.Errorf("%d lines about drift", n)
	}
	b.until("the route is back", func() bool { _, ok := b.route("10.244.2.0/24"); return ok })
}

// deaf is a kernel whose first watch breaks at once.
type deaf struct {
	kernel.Kernel
	watches *atomic.Int32
}

func (k deaf) Watch(ctx context.Context) (<-chan kernel.Report, error) {
	if k.watches.Add(1) > 1 {
		return k.Kernel.Watch(ctx)
	}
	broken := make(chan kernel.Report)
	close(broken)
	return broken, nil
}

func TestBrokenWatchIsBegunAgain(t *testing.T) {
	b := newBench(t)
	watches := &atomic.Int32{}
	b.kernel = deaf{b.fake, watches}
	b.cfg.Resync = 50 * time.Millisecond
	b.start()
	b.publish(node(1), node(2))
	b.until("the loop listens again", func() bool { return watches.Load() == 2 })
}
