package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/ropeway-net/ropeway/daemon/status"
)

// killTimeout bounds the wait for a process that was sent SIGKILL.
const killTimeout = 10 * time.Second

// StartDaemon starts ropewayd in the node and returns at once, see
// [Node.WaitReady]. What it writes goes to [Node.LogFile].
func (n *Node) StartDaemon(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if n.Running() {
		return fmt.Errorf("node %s: ropewayd runs already", n.Name)
	}
	log, err := os.OpenFile(n.LogFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("node %s: %w", n.Name, err)
	}
	defer func() { _ = log.Close() }()
	// The daemon runs on when ctx ends.
	cmd := exec.CommandContext(context.WithoutCancel(ctx), n.program("ropewayd"), "run", "--config", n.ConfigFile())
	cmd.Dir, cmd.Stdout, cmd.Stderr = n.Dir, log, log
	life := Attached
	if n.lab.options.Persistent {
		life = Detached
	}
	p, err := n.Start(cmd, life)
	if err != nil {
		return fmt.Errorf("node %s: start ropewayd: %w", n.Name, err)
	}
	n.mu.Lock()
	n.daemon = p
	n.mu.Unlock()
	return n.lab.save()
}

// Running says whether the node's daemon runs.
func (n *Node) Running() bool {
	p := n.process()
	return p != nil && p.Running()
}

// DaemonPID is the process id of the daemon, 0 when none runs.
func (n *Node) DaemonPID() int {
	if p := n.process(); p != nil && p.Running() {
		return p.PID
	}
	return 0
}

// StopDaemon asks the daemon to end and waits for it. A daemon that does not
// run is no error.
func (n *Node) StopDaemon(ctx context.Context) error { return n.endDaemon(ctx, syscall.SIGTERM) }

// Kill9 kills the daemon with SIGKILL.
func (n *Node) Kill9() error {
	ctx, cancel := context.WithTimeout(context.Background(), killTimeout)
	defer cancel()
	return n.endDaemon(ctx, syscall.SIGKILL)
}

func (n *Node) endDaemon(ctx context.Context, sig syscall.Signal) error {
	p := n.process()
	if p == nil {
		return nil
	}
	err := p.Signal(sig)
	if err == nil {
		err = p.Wait(ctx)
	}
	if err != nil {
		return fmt.Errorf("node %s: stop ropewayd with %s: %w\n%s", n.Name, sig, err, n.logTail())
	}
	return nil
}

func (n *Node) process() *Process {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.daemon
}

// DryRun returns the commands that ropewayd would run on the node now.
func (n *Node) DryRun(ctx context.Context) (string, error) {
	return n.Exec(ctx, n.program("ropewayd"), "run", "--config", n.ConfigFile(), "--dry-run")
}

// Cleanup runs `ropewayd cleanup` in the node, with further arguments.
func (n *Node) Cleanup(ctx context.Context, args ...string) (string, error) {
	return n.Exec(ctx, append([]string{n.program("ropewayd"), "cleanup", "--config", n.ConfigFile()}, args...)...)
}

func (n *Node) program(name string) string { return filepath.Join(n.lab.options.BinDir, name) }

// Status asks the daemon's socket.
func (n *Node) Status(ctx context.Context) (status.Report, error) {
	report, err := status.Fetch(ctx, n.StateDir().Socket())
	if err != nil {
		return status.Report{}, fmt.Errorf("node %s: status: %w", n.Name, err)
	}
	return report, nil
}

// WaitReady waits for all daemons that run, see [Node.WaitReady].
func (l *Lab) WaitReady(ctx context.Context) error {
	for _, n := range l.Nodes() {
		if n.process() == nil {
			continue
		}
		if err := n.WaitReady(ctx); err != nil {
			return err
		}
	}
	return nil
}

// WaitReady waits until the daemon says that it is ready, has a path for every
// pod CIDR of every other node in the lab's list and for no more, and has
// written the CNI configuration. It returns at once when the daemon has ended.
func (n *Node) WaitReady(ctx context.Context) error {
	err := Poll(ctx, 10*time.Millisecond, func() error {
		err := n.ready(ctx)
		if err != nil && !n.Running() {
			return Final{Cause: fmt.Errorf("ropewayd has ended: %w", err)}
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("node %s is not ready: %w\n%s", n.Name, err, n.logTail())
	}
	return nil
}

func (n *Node) ready(ctx context.Context) error {
	report, err := n.Status(ctx)
	if err != nil {
		return err
	}
	if !report.Ready {
		return errors.New(report.Reason)
	}
	wanted := map[string]bool{}
	for _, c := range n.lab.ClusterNodes() {
		for _, cidr := range c.PodCIDRs {
			wanted[c.Name+" "+cidr.String()] = c.Name != n.Name
		}
	}
	for _, path := range report.Paths {
		key := path.Peer + " " + path.PodCIDR.String()
		if !wanted[key] {
			return fmt.Errorf("there is still a path to %s", key)
		}
		delete(wanted, key)
	}
	for key, missing := range wanted {
		if missing {
			return fmt.Errorf("there is no path yet to %s", key)
		}
	}
	_, err = n.networkList()
	return err
}

// Log is what the daemon has written so far.
func (n *Node) Log() string {
	b, err := os.ReadFile(n.LogFile())
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// logTail is the end of the log, for error messages.
func (n *Node) logTail() string {
	lines := strings.Split(strings.TrimSpace(n.Log()), "\n")
	return "its log ends:\n  " + strings.Join(lines[max(0, len(lines)-12):], "\n  ")
}
