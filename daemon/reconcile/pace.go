package reconcile

import "time"

const (
	// debounce is how long a change may be followed by more that belong to it.
	debounce = 5 * time.Millisecond
	// longestRest bounds the rest between passes, and so the time until
	// damage is repaired on a node that is busy.
	longestRest = 500 * time.Millisecond
	// restFactor keeps passes to a fifth of one CPU, however fast the kernel
	// reports changes: attached pods, and the loop's own work, report too.
	restFactor = 4

	firstBackoff = 100 * time.Millisecond
	lastBackoff  = 5 * time.Second
)

// pace decides when the next pass runs. New facts run soon; reports from the
// kernel rest after a pass, and longer after a failed one.
type pace struct {
	timer *time.Timer
	due   time.Time // when the timer fires; zero: it is not set
	begin time.Time // of the last pass
	rest  time.Time // reports from the kernel wait until then
	fails time.Duration
}

func newPace() *pace {
	timer := time.NewTimer(time.Hour)
	timer.Stop()
	return &pace{timer: timer}
}

// now asks for a pass because desired may have changed.
func (p *pace) now() { p.at(time.Now().Add(debounce)) }

// later asks for a pass because the kernel may have changed.
func (p *pace) later() {
	at := time.Now().Add(debounce)
	if at.Before(p.rest) {
		at = p.rest
	}
	p.at(at)
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

// ended plans the rest after a pass, and the next attempt if it failed.
func (p *pace) ended(err error) {
	end := time.Now()
	if err == nil {
		p.fails = 0
		p.rest = end.Add(min(restFactor*end.Sub(p.begin), longestRest))
		return
	}
	p.fails = min(max(2*p.fails, firstBackoff), lastBackoff)
	p.rest = end.Add(p.fails)
	p.at(p.rest)
}
