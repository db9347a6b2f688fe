package ipam

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/ropeway-net/ropeway/statedir"
)

// lockWait is how long to wait for the lock under a context without a deadline.
const lockWait = 10 * time.Second

// lock takes the lock that host-local uses too. Closing the file frees it, and
// so does the end of the process.
func lock(ctx context.Context, dir string) (*os.File, error) {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, lockWait)
		defer cancel()
	}
	path := filepath.Join(dir, lockName)
	for start := time.Now(); ; {
		f, err := tryLock(path)
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, errorf(ErrLocked, "lock %s: still held by another process at the deadline (%w); see which with: fuser -v %s", path, ctx.Err(), path)
		case <-time.After(statedir.LockPause(start)):
		}
	}
}

// tryLock returns EWOULDBLOCK while another process, or another open file of
// this one, has the lock, and also when the file it locked was meanwhile
// removed together with its directory.
func tryLock(path string) (*os.File, error) {
	f, err := statedir.Open(path, os.O_RDONLY|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	if err == nil {
		err = stillNamed(f, path)
	}
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return f, nil
}

func stillNamed(f *os.File, path string) error {
	named, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return syscall.EWOULDBLOCK
	}
	if err != nil {
		return err
	}
	locked, err := f.Stat()
	if err != nil {
		return err
	}
	if !os.SameFile(named, locked) {
		return syscall.EWOULDBLOCK
	}
	return nil
}
