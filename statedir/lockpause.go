package statedir

import (
	"math/rand/v2"
	"time"
)

const (
	minLockPause = time.Millisecond
	maxLockPause = 20 * time.Millisecond
)

// LockPause is how long to wait before a lock is tried again that has been
// waited for since start: an eighth of that, 1 to 20 ms, give or take a half.
// Hundreds that wait would otherwise keep the processors from who holds it. A
// lock that waits in the kernel instead cannot be given up at a deadline.
func LockPause(start time.Time) time.Duration {
	pause := min(max(time.Since(start)/8, minLockPause), maxLockPause)
	return pause/2 + rand.N(pause)
}
