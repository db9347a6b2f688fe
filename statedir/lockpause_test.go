package statedir

import (
	"testing"
	"time"
)

func TestLockIsTriedLessOftenTheLongerItIsWaitedFor(t *testing.T) {
	for _, tt := range []struct{ waited, atLeast, below time.Duration }{
		{0, minLockPause / 2, 3 * time.Millisecond},
		{time.Hour, maxLockPause / 2, maxLockPause * 3 / 2},
	} {
		for range 100 {
			if got := LockPause(time.Now().Add(-tt.waited)); got < tt.atLeast || got >= tt.below {
				t.Errorf("after %v: %v, want %v to %v", tt.waited, got, tt.atLeast, tt.below)
			}
		}
	}
}
