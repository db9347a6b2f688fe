// Package coalesce reads what descriptors have to tell the way a network card
// raises interrupts: what comes first at once, what follows within a few
// milliseconds together.
//
// A descriptor in the Go runtime's poller wakes a thread for each single thing, also
// when nobody waits for it. While a plugin makes a pod's link the kernel tells of a
// dozen changes within a millisecond, and each waking takes the plugin's time and
// the other processor. Here the descriptors are in a poller of their own, which is
// in the runtime's: it tells of each descriptor once until it is armed again
// (EPOLLONESHOT), which is when the rest is over. A thread that waits by itself in a
// system call would be no better, for the runtime watches over such threads.
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

// Source is a descriptor that is read when there is something to read.
type Source struct {
	FD int
	// Read takes all that is there and does not wait for more. An error ends Run.
	Read func() error
}

// Run reads the sources until ctx ends, which is no error, or one fails. After each
// reading it rests, whatever comes. The descriptors are the caller's, who keeps them
// open until Run has returned.
func Run(ctx context.Context, rest time.Duration, sources ...Source) error {
	p, err := newPoller(sources)
	if err != nil {
		return fmt.Errorf("wait for news: %w", err)
	}
	defer p.Close()
	forget := context.AfterFunc(ctx, func() { _ = p.SetReadDeadline(time.Unix(1, 0)) }) // which ends the waiting
	defer forget()
	resting := time.NewTimer(rest)
	defer resting.Stop()
	for {
		ready, err := p.wait()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("wait for news: %w", err)
		}
		for _, s := range ready {
			if err := s.Read(); err != nil {
				return err
			}
		}
		resting.Reset(rest)
		select {
		case <-ctx.Done():
			return nil
		case <-resting.C:
		}
		if err := p.arm(unix.EPOLL_CTL_MOD, ready); err != nil {
			return fmt.Errorf("wait for news: %w", err)
		}
	}
}

// poller waits for the sources that are armed.
type poller struct {
	*os.File
	raw     syscall.RawConn
	sources map[int32]Source
	events  []unix.EpollEvent
}

func newPoller(sources []Source) (_ *poller, err error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err == nil {
		err = unix.SetNonblock(fd, true) // so that the runtime takes it into its own poller
	}
	if err != nil {
		return nil, err
	}
	p := &poller{File: os.NewFile(uintptr(fd), "epoll"), sources: map[int32]Source{}, events: make([]unix.EpollEvent, len(sources))}
	defer func() {
		if err != nil {
			p.Close()
		}
	}()
	if p.raw, err = p.SyscallConn(); err != nil {
		return nil, err
	}
	for _, s := range sources {
		p.sources[int32(s.FD)] = s
	}
	return p, p.arm(unix.EPOLL_CTL_ADD, sources)
}

// arm lets the poller tell of sources once more.
func (p *poller) arm(how int, sources []Source) error {
	for _, s := range sources {
		e := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLONESHOT, Fd: int32(s.FD)}
		if err := p.control(how, s.FD, &e); err != nil {
			return err
		}
	}
	return nil
}

func (p *poller) control(how, fd int, e *unix.EpollEvent) (err error) {
	refused := p.raw.Control(func(own uintptr) { err = unix.EpollCtl(int(own), how, fd, e) })
	return errors.Join(refused, err)
}

// wait returns the sources that have something to tell, none of which is armed then.
func (p *poller) wait() (ready []Source, err error) {
	ended := p.raw.Read(func(own uintptr) bool {
		var n int
		for {
			if n, err = unix.EpollWait(int(own), p.events, 0); !errors.Is(err, unix.EINTR) {
				break
			}
		}
		for _, e := range p.events[:max(n, 0)] {
			ready = append(ready, p.sources[e.Fd])
		}
		return err != nil || n > 0
	})
	return ready, errors.Join(ended, err)
}
