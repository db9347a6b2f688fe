package statedir

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// lockFile opens the file of a lock once more.
func lockFile(t *testing.T, path string) *os.File {
	t.Helper()
	f, err := Open(path, os.O_RDONLY|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

func TestLockIsHeldByOneAtATimeAndByAllInTurn(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var holders, turns atomic.Int32
	var all sync.WaitGroup
	for range 50 {
		f := lockFile(t, path)
		all.Go(func() {
			if err := Lock(ctx, f); err != nil {
				t.Error(err)
				return
			}
			if n := holders.Add(1); n != 1 {
				t.Errorf("%d hold the lock", n)
			}
			turns.Add(1)
			holders.Add(-1)
			_ = f.Close()
		})
	}
	all.Wait()
	if n := turns.Load(); n != 50 {
		t.Errorf("%d had their turn, want 50", n)
	}
}

func TestLockIsGivenUpAtTheDeadlineAndHarmsNobody(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	holder, impatient := lockFile(t, path), lockFile(t, path)
	if err := Lock(t.Context(), holder); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	err := Lock(ctx, impatient)
	if !errors.Is(err, ErrLocked) || !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "fuser -v "+path) {
		t.Errorf("error %v", err)
	}
	_ = impatient.Close()
	_ = holder.Close()
	// The one that gave up is in the queue still, and gives the lock on.
	patient, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := Lock(patient, lockFile(t, path)); err != nil {
		t.Errorf("after one that gave up: %v", err)
	}
}
