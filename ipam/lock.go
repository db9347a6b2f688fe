package ipam

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
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
	for {
		f, err := statedir.Open(path, os.O_RDONLY|os.O_CREATE, 0o600)
		if err != nil {
			return nil, err
		}
		if err = statedir.Lock(ctx, f); err == nil {
			err = stillNamed(f, path)
		}
		if err == nil {
			return f, nil
		}
		_ = f.Close()
		switch {
		case errors.Is(err, statedir.ErrLocked):
			return nil, errorf(ErrLocked, "%w", err)
		case !errors.Is(err, errRemoved):
			return nil, err
		case ctx.Err() != nil:
			return nil, errorf(ErrLocked, "lock %s: %w again and again until the deadline (%w)", path, err, ctx.Err())
		}
		time.Sleep(time.Millisecond) // it is being removed
	}
}

// errRemoved means that the file that was locked has been removed together with
// its directory, and perhaps made anew.
var errRemoved = errors.New("the lock was removed")

func stillNamed(f *os.File, path string) error {
	named, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return errRemoved
	}
	if err != nil {
		return err
	}
	locked, err := f.Stat()
	if err != nil {
		return err
	}
	if !os.SameFile(named, locked) {
		return errRemoved
	}
	return nil
}
