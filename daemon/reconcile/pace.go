package reconcile

import "time"

const (
	// debounce is how long a change may be followed by more that belong to it.
	debounce = 5 * time.Millisecond
	// gather is the same for pods that come and go. The plugin has done what
	// they need, and they come in numbers; a pass beside it would only take its
	// processor and the kernel's locks.
	gather = 50 * time.Millisecond
	// longestRest bounds the rest between passes, and so the time until
	// damage is repaired on a node that is busy.
	longestRest = 500 * time.Millisecond
	// restFactor keeps passes to a fifth of one CPU, however fast the kernel
	// reports changes: attached pods, and the loop's own work, report too.
	restFactor = 4
	// newsFactor is the same for what the source says: nodes come and go
	// seldom, and pods wait for the path to them.
	newsFactor = 1

	firstBackoff = 100 * time.Millisecond
	lastBackoff  = 5 * time.Second
)

// pace decides when the next pass runs. A pass rests in proportion to its
// length; reports from the kernel wait longer after a failure, and while
// somebody undoes repairs.
type pace struct {
	timer *time.Timer
	due   time.Time // when the timer fires; zero: it is not set
	begin time.Time // of the last pass
	news  time.Time // nothing runs before
	calm  time.Time // files that come and go wait until then
	rest  time.Time // reports from the kernel wait until then
	fails time.Duration
}

func newPace() *pace {
	timer := time.NewTimer(time.Hour)
	timer.Stop()
	return &pace{timer: timer}
}

// now asks for a pass because the source has news.
func (p *pace) now() { p.at(latest(time.Now().Add(debounce), p.news)) }

// soon asks for a pass because files changed: pods came or went, for which the
// plugin has done already what they need, or another network's configuration.
func (p *pace) soon() { p.at(latest(time.Now().Add(gather), p.calm)) }

// pods asks for a pass because links of pods changed.
func (p *pace) pods() { p.at(latest(time.Now().Add(gather), p.rest)) }

// later asks for a pass because the kernel may have changed.
func (p *pace) later() { p.at(latest(time.Now().Add(debounce), p.rest)) }

func latest(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

func (p *pace) at(t time.Time) {
	if !p.due.IsZero() && !t.Before(p.due) {
		return
	}
	p.due = t
	p.timer.Reset(time.Until(t))
}

func (p *pace) started() {
	p.due = time.Time{}
	p.begin = time.Now()
}

// ended plans the rest after a pass, and the next attempt if it failed. A
// quarrel is what the rest is to be at least.
func (p *pace) ended(err error, quarrel time.Duration) {
	end := time.Now()
	p.news = end.Add(min(newsFactor*end.Sub(p.begin), longestRest))
	p.calm = end.Add(min(restFactor*end.Sub(p.begin), longestRest))
	if err == nil {
		p.fails = 0
		p.rest = latest(p.calm, end.Add(quarrel))
		return
	}
	p.fails = min(max(2*p.fails, firstBackoff), lastBackoff)
	p.rest = latest(p.calm, end.Add(p.fails))
	p.at(p.rest)
}
