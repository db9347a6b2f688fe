package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/ropeway-net/ropeway/daemon/status"
	"github.com/ropeway-net/ropeway/statedir"
)

// daemon is ropewayd, running in a node as it does beside a real runtime.
type daemon struct {
	process *os.Process
	log     string
	ended   chan error
}

// startDaemon starts it and returns when it has made the node ready.
func startDaemon(ctx context.Context, n *node, path, config, log string, state statedir.Dir) (*daemon, error) {
	d := &daemon{log: log, ended: make(chan error, 1)}
	out, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	started := make(chan error, 1)
	go func() {
		d.ended <- n.do(func() error {
			// The kernel ends the daemon with this thread, so the thread waits.
			cmd := exec.CommandContext(ctx, path, "run", "--config", config)
			cmd.Stdout, cmd.Stderr = out, out
			cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
			if err := cmd.Start(); err != nil {
				started <- err
				return err
			}
			d.process = cmd.Process
			started <- nil
			return cmd.Wait()
		})
		started <- errors.New("its node cannot be entered")
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start ropewayd: %w", err)
	}
	if err := d.waitReady(ctx, state); err != nil {
		return nil, errors.Join(err, d.stop())
	}
	return d, nil
}

// readyTimeout is what a daemon gets for making its node ready.
const readyTimeout = 30 * time.Second

func (d *daemon) waitReady(ctx context.Context, state statedir.Dir) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		report, err := status.Fetch(ctx, state.Socket())
		if err == nil && report.Ready {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("ropewayd is not ready after %s: %s, %w; see %s", readyTimeout, report.Reason, err, d.log)
		case ended := <-d.ended:
			d.ended <- ended
			text, _ := os.ReadFile(d.log)
			return fmt.Errorf("ropewayd has ended: %w: %s", ended, text)
		case <-tick.C:
		}
	}
}

// stop ends the daemon; what it made in the kernel stays.
func (d *daemon) stop() error {
	if err := d.process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	grace := time.NewTimer(readyTimeout)
	defer grace.Stop()
	select {
	case err := <-d.ended:
		return err
	case <-grace.C:
		return errors.Join(errors.New("ropewayd does not end when asked to"), d.process.Kill())
	}
}

// cpu is the processor time that the daemon has used, to the nanosecond.
func (d *daemon) cpu() (time.Duration, error) {
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", d.process.Pid))
	if err != nil {
		return 0, err
	}
	var sum int64
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			continue // a thread that has just ended
		}
		first, _, _ := strings.Cut(string(text), " ")
		ns, err := strconv.ParseInt(first, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", f, err)
		}
		sum += ns
	}
	return time.Duration(sum), nil
}

const (
	// quiet is how long a daemon that has done its work uses no processor; it
	// may rest for some milliseconds before it looks at the pod that came.
	quiet = 20 * time.Millisecond
	// restless is how long is waited for that.
	restless = 500 * time.Millisecond
)

// settle waits until the daemon is idle, so that what it does after a call
// falls into nobody else's turn, and returns what it used since before.
func (d *daemon) settle(ctx context.Context, before time.Duration) (time.Duration, error) {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	start := time.Now()
	last, since := before, start
	for time.Since(start) < restless {
		select {
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		case <-tick.C:
		}
		now, err := d.cpu()
		if err != nil {
			return 0, err
		}
		if now != last {
			last, since = now, time.Now()
		} else if time.Since(since) >= quiet {
			break
		}
	}
	return last - before, nil
}
