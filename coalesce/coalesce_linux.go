// Package coalesce reads what a descriptor has to tell the way a network card raises
// interrupts: what comes first at once, what follows within a few milliseconds
// together, where the reader says that it comes in numbers.
//
// A descriptor in the Go runtime's poller wakes a thread for each single thing, also
// when nobody waits for it. While a plugin makes a pod's link the kernel tells of a
// dozen changes within a millisecond; each waking takes the plugin's time and the
// other processor. Here the descriptor is in a poller of its own, which is in the
// runtime's: it tells of it once until it is armed again (EPOLLONESHOT), which is
// when the rest is over. A thread that waits by itself in a system call would be no
// better, for the runtime watches over such threads.
package coalesce

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Reader waits for one descriptor, which is the caller's and stays open until Run
// has returned.
type Reader struct {
	fd     int
	poller *os.File // an epoll instance
	raw    syscall.RawConn
}

// New returns a reader that Run or Close ends.
func New(fd int) (_ *Reader, err error) {
	own, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("wait for news: %w", err)
	}
	if err = unix.SetNonblock(own, true); err != nil { // so that the runtime takes it into its own poller
		_ = unix.Close(own)
		return nil, fmt.Errorf("wait for news: %w", err)
	}
	r := &Reader{fd: fd, poller: os.NewFile(uintptr(own), "epoll")}
	if r.raw, err = r.poller.SyscallConn(); err == nil {
		err = r.arm(unix.EPOLL_CTL_ADD)
	}
	if err != nil {
		r.Close()
		return nil, fmt.Errorf("wait for news: %w", err)
	}
	return r, nil
}

// Close ends a reader that was never run.
func (r *Reader) Close() { _ = r.poller.Close() }

// Run calls read whenever there is something to read, until ctx ends, which is no
// error, or read fails. It need not read all there is, for it is called again then.
// When it asks for a rest, that is not before the rest is over, whatever comes.
func (r *Reader) Run(ctx context.Context, rest time.Duration, read func() (resting bool, err error)) error {
	defer r.Close()
	forget := context.AfterFunc(ctx, func() { _ = r.poller.SetReadDeadline(time.Unix(1, 0)) }) // which ends the waiting
	defer forget()
	timer := time.NewTimer(rest)
	defer timer.Stop()
	for {
		err := r.wait()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("wait for news: %w", err)
		}
		resting, err := read()
		if err != nil {
			return err
		}
		if resting {
			timer.Reset(rest)
			select {
			case <-ctx.Done():
				return nil
			case <-timer.C:
			}
		}
		if err := r.arm(unix.EPOLL_CTL_MOD); err != nil {
			return fmt.Errorf("wait for news: %w", err)
		}
	}
}

// arm lets the poller tell once more.
func (r *Reader) arm(how int) (err error) {
	e := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLONESHOT, Fd: int32(r.fd)}
	refused := r.raw.Control(func(own uintptr) { err = unix.EpollCtl(int(own), how, r.fd, &e) })
	return errors.Join(refused, err)
}

// wait returns when there is something to read, of which is not told again until arm.
func (r *Reader) wait() (err error) {
	ended := r.raw.Read(func(own uintptr) bool {
		var told [1]unix.EpollEvent
		for {
			n, waitErr := unix.EpollWait(int(own), told[:], 0)
			if errors.Is(waitErr, unix.EINTR) {
				continue
			}
			err = waitErr
			return err != nil || n > 0
		}
	})
	return errors.Join(ended, err)
}
