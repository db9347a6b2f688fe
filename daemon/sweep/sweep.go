// Package sweep deletes the links of pods that are gone. Plugins only take a
// link out of use, which costs them 0.1 ms, and leave it in an interface group;
// deleting takes the kernel 15 to 25 ms, for one link or for a dozen. Here they
// are deleted together.
//
// Nothing is lost when the daemon dies: what it was told is in the kernel. A
// plugin that finds nobody listening deletes the group itself.
package sweep

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"

	"github.com/ropeway-net/ropeway/statedir"
)

// Sweeper deletes retired links: when it starts, some time after a plugin has
// told it of one, now and then in case nobody told it, and when it ends.
type Sweeper struct {
	StateDir statedir.Dir // where plugins tell of retired links
	Netns    uint64       // inode of the network namespace in which Delete works
	Delete   func(context.Context) error
	// Gather is how long others may join a link before all are deleted.
	Gather time.Duration
	// Again is the time between two looks for links that nobody told of.
	Again time.Duration
	Log   *slog.Logger
}

// deleteTimeout bounds one deletion, which is done in 0.1 s as a rule.
const deleteTimeout = 10 * time.Second

// Run sweeps until ctx ends. Without its socket it goes on by the clock, and
// plugins do the work. It replaces sockets that earlier daemons left; the caller
// makes sure that no other daemon runs with that state directory.
func (s *Sweeper) Run(ctx context.Context) {
	told := make(chan struct{}, 1)
	conn, err := s.open(ctx)
	if err != nil {
		s.Log.Warn("plugins delete the links of pods themselves", "cause", err.Error())
	} else {
		var wait sync.WaitGroup
		wait.Go(func() { s.listen(ctx, conn, told) })
		defer func() {
			// Plugins find nobody from here on. What they told before is done.
			_ = os.Remove(s.socket())
			_ = conn.Close()
			wait.Wait()
			_ = s.sweep(context.WithoutCancel(ctx))
		}()
	}
	s.loop(ctx, told)
}

func (s *Sweeper) loop(ctx context.Context, told <-chan struct{}) {
	again := time.NewTicker(s.Again)
	defer again.Stop()
	failing := false
	for {
		err := s.sweep(ctx)
		if err != nil && !failing && ctx.Err() == nil {
			s.Log.Error("links of pods that are gone cannot be deleted", "cause", err.Error())
		}
		failing = err != nil
		select {
		case <-ctx.Done():
			return
		case <-again.C:
		case <-told:
			if !s.gather(ctx, told) {
				return
			}
		}
	}
}

// gather waits for others to join, and is false when ctx has ended.
func (s *Sweeper) gather(ctx context.Context, told <-chan struct{}) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(s.Gather):
	}
	select {
	case <-told: // what it told of goes now
	default:
	}
	return true
}

func (s *Sweeper) sweep(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, deleteTimeout)
	defer cancel()
	return s.Delete(ctx)
}

// listen reads notices until the connection is closed. Whatever they say, they
// mean the same.
func (s *Sweeper) listen(ctx context.Context, conn net.PacketConn, told chan<- struct{}) {
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() }) // which ends the reading
	defer stop()
	for buf := make([]byte, 1); ; {
		if _, _, err := conn.ReadFrom(buf); err != nil {
			if ctx.Err() == nil {
				s.Log.Error("plugins are not listened to any more", "cause", err.Error())
				_ = os.Remove(s.socket())
			}
			return
		}
		select {
		case told <- struct{}{}:
		default:
		}
	}
}

func (s *Sweeper) socket() string { return s.StateDir.RetiredSocket(s.Netns) }

// open makes the socket, mode 0600.
func (s *Sweeper) open(ctx context.Context) (net.PacketConn, error) {
	if err := os.MkdirAll(string(s.StateDir), 0o755); err != nil {
		return nil, err
	}
	for _, left := range s.StateDir.RetiredSockets() {
		if err := os.Remove(left); err != nil {
			return nil, err
		}
	}
	conn, err := (&net.ListenConfig{}).ListenPacket(ctx, "unixgram", s.socket())
	if err != nil {
		return nil, fmt.Errorf("listen for retired links: %w", err)
	}
	if err := os.Chmod(s.socket(), 0o600); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return conn, nil
}
