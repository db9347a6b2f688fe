package statedir

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// ErrLocked means that another process held a lock for too long.
var ErrLocked = errors.New("still held by another process at the deadline")

// Lock takes the exclusive lock of flock(2) on a file. While others hold it the
// caller waits in the kernel's queue, which is in order and takes no processor
// time, until ctx ends, with [ErrLocked]. Closing the file frees the lock, and so
// does the end of the process.
func Lock(ctx context.Context, f *os.File) error {
	err := flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		err = waitForLock(ctx, f)
	}
	if err != nil && !errors.Is(err, ErrLocked) {
		return &os.PathError{Op: "lock", Path: f.Name(), Err: err}
	}
	return err
}

// waitForLock has another thread wait, for nothing but a signal ends that. It waits
// on a descriptor of its own: the caller may have closed f when its turn comes,
// and the lock is free again at once.
func waitForLock(ctx context.Context, f *os.File) error {
	own, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return err
	}
	locked := make(chan error, 1)
	go func() {
		err := flock(own, unix.LOCK_EX)
		_ = syscall.Close(own)
		locked <- err
	}()
	select {
	case err := <-locked:
		return err
	case <-ctx.Done():
		return fmt.Errorf("lock %s: %w (%w); see which with: fuser -v %s", f.Name(), ErrLocked, ctx.Err(), f.Name())
	}
}

func flock(fd, how int) error {
	for {
		if err := unix.Flock(fd, how); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
