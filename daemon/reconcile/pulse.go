package reconcile

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"
)

const (
	// answers is how long a loop that is not in a pass may take to answer.
	answers = 500 * time.Millisecond
	// stuck is the length of a pass that no deadline has ended: something in
	// the kernel, or a disk, holds it.
	stuck = 2 * passTimeout
)

// pulse tells a loop that works, or waits for work, from one that is stuck,
// without a tick of its own.
type pulse struct {
	asked chan struct{}
	since *atomic.Int64 // begin of the pass, nanoseconds since 1970; 0: in none
}

func newPulse() pulse {
	return pulse{asked: make(chan struct{}), since: new(atomic.Int64)}
}

func (p pulse) busy(begin time.Time) { p.since.Store(begin.UnixNano()) }

func (p pulse) rests() { p.since.Store(0) }

// passFor is how long the pass at hand has lasted, 0 when there is none.
func (p pulse) passFor() time.Duration {
	since := p.since.Load()
	if since == 0 {
		return 0
	}
	return max(time.Since(time.Unix(0, since)), 1)
}

// Alive returns nil while the loop works or waits for work, and the reason why
// it should be ended when it is stuck. It depends on nobody but this process
// and its kernel.
func (l *Loop) Alive(ctx context.Context) error {
	if l.pulse.passFor() == 0 {
		timer := time.NewTimer(answers)
		defer timer.Stop()
		select {
		case l.pulse.asked <- struct{}{}:
			return nil
		case <-ctx.Done():
		case <-timer.C:
		}
	}
	switch d := l.pulse.passFor(); {
	case d == 0:
		return fmt.Errorf("the loop has not answered for %s; restart the daemon, pods keep their paths", answers)
	case d > stuck:
		return fmt.Errorf("the loop has been in one pass for %s; restart the daemon, pods keep their paths", d.Round(time.Second))
	default:
		return nil
	}
}
