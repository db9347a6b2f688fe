package kube

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ropeway-net/ropeway/integration/lab"
)

// Machine is a computer with services that start by themselves. Several may
// share a lab node's network.
type Machine struct {
	Name    string
	Network *lab.Namespace

	layout
	services []service
	cgroup   string // below each hierarchy's root
	life     lab.Lifetime
	process  *lab.Process // process 1; nil: off
}

// machineArgument, as the first argument, makes a program a machine's process
// 1; the machine's directory and name follow.
const machineArgument = "ropeway-kube-machine"

// BecomeMachine must be called first by every program that makes machines,
// tests included: it turns the program into a machine's process 1 if that is
// what it was started as, and otherwise returns.
func BecomeMachine() {
	if len(os.Args) != 4 || os.Args[0] != machineArgument || os.Args[1] != machineArgument {
		return
	}
	l := layout{os.Args[2]}
	err := func() error {
		services, err := readServices(l.services())
		if err != nil {
			return err
		}
		if err := unix.Sethostname([]byte(os.Args[3])); err != nil {
			return err
		}
		if err := l.enterRoot(); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(l.services(), "up"), nil, 0o600); err != nil {
			return err
		}
		supervise(l.services(), services)
		return nil
	}()
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// PowerOn starts the machine and returns when its services have been started
// for the first time.
func (m *Machine) PowerOn(ctx context.Context) error {
	if err := m.make(); err != nil {
		return fmt.Errorf("machine %s: %w", m.Name, err)
	}
	if err := makeCgroup(m.cgroup); err != nil {
		return fmt.Errorf("machine %s: %w", m.Name, err)
	}
	if err := writeServices(m.layout.services(), m.services); err != nil {
		return fmt.Errorf("machine %s: %w", m.Name, err)
	}
	up := filepath.Join(m.layout.services(), "up")
	if err := os.Remove(up); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	log, err := os.OpenFile(filepath.Join(m.layout.services(), "machine.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.CommandContext(context.WithoutCancel(ctx), "/proc/self/exe", machineArgument, m.dir, m.Name)
	cmd.Args[0] = machineArgument
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC}
	if m.process, err = m.Network.Start(cmd, m.life); err != nil {
		return fmt.Errorf("machine %s: %w", m.Name, err)
	}
	return until(ctx, func() error {
		if !m.process.Running() {
			return lab.Final{Cause: fmt.Errorf("machine %s ended at once:\n%s", m.Name, m.Log("machine"))}
		}
		_, err := os.Stat(up)
		return err
	})
}

// PowerOff pulls the plug: everything that runs on the machine is gone at
// once, what it wrote stays.
func (m *Machine) PowerOff(ctx context.Context) error {
	if m.process == nil {
		return nil
	}
	// Process 1 ends after the last of the machine's processes.
	if err := m.process.Signal(syscall.SIGKILL); err != nil {
		return err
	}
	if err := m.process.Wait(ctx); err != nil {
		return fmt.Errorf("machine %s: %w", m.Name, err)
	}
	m.process = nil
	return removeCgroup(ctx, m.cgroup)
}

// Stop ends a service and keeps it from starting again.
func (m *Machine) Stop(ctx context.Context, name string) error {
	s := service{Name: name}
	if err := os.WriteFile(s.down(m.layout.services()), nil, 0o600); err != nil {
		return err
	}
	return m.Kill(ctx, name)
}

// Start lets a stopped service start again.
func (m *Machine) Start(name string) error {
	err := os.Remove(service{Name: name}.down(m.layout.services()))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// Kill ends a service by SIGKILL, so that process 1 starts it again. One that
// has just ended, and is about to be started, is waited for.
func (m *Machine) Kill(ctx context.Context, name string) error {
	pid := ""
	err := until(ctx, func() error {
		b, err := os.ReadFile(service{Name: name}.pidFile(m.layout.services()))
		if err != nil {
			return fmt.Errorf("machine %s: service %s: %w", m.Name, name, err)
		}
		pid = strings.TrimSpace(string(b))
		_, err = m.Exec(ctx, "kill", "-KILL", pid)
		return err
	})
	if err != nil {
		return err
	}
	return until(ctx, func() error {
		if _, err := m.Exec(ctx, "test", "!", "-e", "/proc/"+pid); err != nil {
			return fmt.Errorf("machine %s: service %s (process %s) has not ended", m.Name, name, pid)
		}
		return nil
	})
}

// Exec runs a command on the machine and returns what it wrote to stdout.
func (m *Machine) Exec(ctx context.Context, command ...string) (string, error) {
	return m.ExecInput(ctx, "", command...)
}

// ExecInput is Exec with text on stdin.
func (m *Machine) ExecInput(ctx context.Context, input string, command ...string) (string, error) {
	if m.process == nil {
		return "", fmt.Errorf("machine %s is off", m.Name)
	}
	var stdout, stderr strings.Builder
	args := append([]string{"--target", strconv.Itoa(m.process.PID), "--mount", "--net", "--pid", "--uts", "--ipc", "--"}, command...)
	cmd := exec.CommandContext(ctx, "nsenter", args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(input), &stdout, &stderr
	cmd.WaitDelay = time.Second
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("on %s: %s: %w\n%s", m.Name, strings.Join(command, " "), err, strings.TrimSpace(stderr.String()))
	}
	return stdout.String(), nil
}

// Log is what a service wrote so far.
func (m *Machine) Log(name string) string {
	b, err := os.ReadFile(filepath.Join(m.layout.services(), name+".log"))
	if err != nil {
		return err.Error()
	}
	return string(b)
}
