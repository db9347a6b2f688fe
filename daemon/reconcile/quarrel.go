package reconcile

import "time"

const (
	// firstQuarrel is the rest after a repair; it doubles, up to longestRest,
	// with each repair that follows soon.
	firstQuarrel = 10 * time.Millisecond
	// truce is how long nothing must be repaired until all is forgotten.
	truce = 10 * time.Second
	// tellQuarrel is the time between two log lines about repairs once the
	// rest is at its longest.
	tellQuarrel = 30 * time.Second
)

// quarrel notices that somebody undoes repairs again and again: the loop goes
// on repairing, but neither as fast as it can nor with a log line for each.
type quarrel struct {
	rest   time.Duration // until the next repair; 0: there is no quarrel
	last   time.Time     // of the last repair
	told   time.Time     // when a repair was last logged
	untold int           // repairs since
}

// repaired takes note of a repair. It says whether to log it, and how many
// were not since the last one that was.
func (q *quarrel) repaired(now time.Time) (tell bool, untold int) {
	q.forget(now)
	q.last = now
	q.rest = min(max(2*q.rest, firstQuarrel), longestRest)
	if q.rest == longestRest && now.Sub(q.told) < tellQuarrel {
		q.untold++
		return false, 0
	}
	untold = q.untold
	q.told, q.untold = now, 0
	return true, untold
}

// forget ends the quarrel when there was peace for long enough.
func (q *quarrel) forget(now time.Time) {
	if now.Sub(q.last) > truce {
		q.rest = 0
	}
}
