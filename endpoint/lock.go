package endpoint

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/ropeway-net/ropeway/statedir"
)

// Lock keeps others that lock from writing records, until unlock or the end of
// the process: who must compare a record with all others before it is written
// needs that. ctx must have a deadline.
func (s Store) Lock(ctx context.Context) (unlock func(), err error) {
	f, err := os.Open(s.Dir)
	if errors.Is(err, os.ErrNotExist) {
		if err = os.MkdirAll(s.Dir, 0o755); err == nil {
			f, err = os.Open(s.Dir)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("lock the endpoint records: %w", err)
	}
	for start := time.Now(); ; {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		switch {
		case err == nil:
			return func() { _ = f.Close() }, nil
		case errors.Is(err, syscall.EINTR):
			continue
		case !errors.Is(err, syscall.EWOULDBLOCK):
			_ = f.Close()
			return nil, &os.PathError{Op: "lock", Path: s.Dir, Err: err}
		}
		select {
		case <-ctx.Done():
			_ = f.Close()
			return nil, fmt.Errorf("lock %s: still held by another process at the deadline (%w); see which with: fuser -v %s", s.Dir, ctx.Err(), s.Dir)
		case <-time.After(statedir.LockPause(start)):
		}
	}
}
