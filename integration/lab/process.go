package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Identity names one process for as long as the machine is up: process ids are
// used again, together with the start time they are not.
type Identity struct {
	PID   int    `json:"pid"`
	Start string `json:"start"` // field 22 of /proc/<pid>/stat, in clock ticks
}

// self is the running program.
func self() Identity {
	id, _ := identify(os.Getpid())
	return id
}

// identify fails when there is no such process, or only its zombie.
func identify(pid int) (Identity, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return Identity{}, err
	}
	// The command, in brackets, may hold spaces; state is field 3.
	_, rest, _ := strings.Cut(string(b), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 20 || fields[0] == "Z" || fields[0] == "X" {
		return Identity{}, fmt.Errorf("process %d has ended", pid)
	}
	return Identity{PID: pid, Start: fields[19]}, nil
}

// alive says whether the very process still runs.
func (id Identity) alive() bool {
	now, err := identify(id.PID)
	return err == nil && now == id
}

// Process is a program that runs in a namespace, our child or that of an
// earlier program.
type Process struct {
	Identity
	child *os.Process   // nil for another program's child
	done  chan struct{} // closed when our child has been reaped
	err   error         // how our child ended; read after done
}

// Start starts cmd in the namespace. A process that is not to outlive this
// program is killed by the kernel when this program dies.
func (ns *Namespace) Start(cmd *exec.Cmd, outlive Lifetime) (*Process, error) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setsid = outlive == Detached
	if outlive == Attached {
		cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	}
	p := &Process{done: make(chan struct{})}
	started := make(chan error, 1)
	// The death signal comes when the thread dies that forked, so this
	// goroutine keeps its thread until the child has ended, and the thread,
	// being in the namespace, is never used for anything else.
	goOnThread(func() {
		defer close(p.done)
		err := unix.Setns(ns.Fd(), unix.CLONE_NEWNET)
		if err == nil {
			err = cmd.Start()
		}
		if err == nil {
			p.child = cmd.Process
			p.Identity, _ = identify(cmd.Process.Pid) // fails if it ended already
			p.PID = cmd.Process.Pid
		}
		started <- err
		if err == nil {
			p.err = cmd.Wait()
		}
	})
	if err := <-started; err != nil {
		return nil, err
	}
	return p, nil
}

// Lifetime says what happens to a process when its parent ends.
type Lifetime int

// The lifetimes.
const (
	Attached Lifetime = iota // it is killed
	Detached                 // it goes on, in a session of its own
)

// Adopt takes a process that an earlier program started.
func Adopt(id Identity) *Process { return &Process{Identity: id} }

// Running says whether the process has not ended.
func (p *Process) Running() bool {
	if p.done == nil {
		return p.alive()
	}
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// Signal sends sig; a process that has ended is no error.
func (p *Process) Signal(sig syscall.Signal) error {
	target := p.child
	if target == nil {
		// The handle is taken before the Identity is checked, so the signal
		// cannot reach a later process of the same id.
		var err error
		if target, err = os.FindProcess(p.PID); err != nil || !p.alive() {
			return nil
		}
		defer func() { _ = target.Release() }()
	}
	if err := target.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("signal process %d: %w", p.PID, err)
	}
	return nil
}

// Wait returns when the process has ended.
func (p *Process) Wait(ctx context.Context) error {
	if p.done != nil {
		select {
		case <-p.done:
			return nil
		case <-ctx.Done():
			return fmt.Errorf("process %d still runs: %w", p.PID, ctx.Err())
		}
	}
	return Poll(ctx, 5*time.Millisecond, func() error {
		if p.alive() {
			return fmt.Errorf("process %d still runs", p.PID)
		}
		return nil
	})
}
