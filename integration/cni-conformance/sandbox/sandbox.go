// Package sandbox runs a case in a process of its own, in network, mount and
// process namespaces of its own, with empty directories where plugins keep
// their state. The kernel takes everything down when the process ends, in
// whatever way it does.
package sandbox

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/ropeway-net/ropeway/integration/cni-conformance/stage"
	"github.com/ropeway-net/ropeway/integration/cni-conformance/subject"
)

// Verb is the argument with which this program runs one case.
const Verb = "run-one-case"

// Job is one case with one version of the specification.
type Job struct {
	Subject subject.Subject `json:"subject"`
	Version string          `json:"version"`
	Case    string          `json:"case"`
}

// Run starts the case in a sandbox and waits for its outcome.
func Run(ctx context.Context, job Job) stage.Outcome {
	outcome, err := run(ctx, job)
	if err != nil {
		return stage.Outcome{Verdict: stage.Broken, Why: err.Error()}
	}
	return outcome
}

func run(ctx context.Context, job Job) (stage.Outcome, error) {
	var outcome stage.Outcome
	input, err := json.Marshal(job)
	if err != nil {
		return outcome, err
	}
	// The child dies with the thread that started it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, "/proc/self/exe", Verb)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(input), &stdout, &stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWNET | syscall.CLONE_NEWPID | syscall.CLONE_NEWIPC,
		Pdeathsig:  syscall.SIGKILL,
	}
	if err := cmd.Run(); err != nil {
		return outcome, fmt.Errorf("case %s: %w: %s", job.Case, errors.Join(err, ctx.Err()), strings.TrimSpace(stderr.String()))
	}
	if err := json.Unmarshal(stdout.Bytes(), &outcome); err != nil {
		return outcome, fmt.Errorf("case %s: outcome %q: %w", job.Case, stdout.String(), err)
	}
	return outcome, nil
}

// Enter makes the namespaces of this process fit for plugins: nothing that
// they do to files, links or firewalls reaches the machine.
func Enter() error {
	if os.Getpid() != 1 {
		return errors.New("this is meant for a process in namespaces of its own")
	}
	if err := unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("make the mounts private: %w", err)
	}
	for _, dir := range Hidden() {
		info, err := os.Lstat(dir)
		if errors.Is(err, fs.ErrNotExist) || err == nil && !info.IsDir() {
			continue
		}
		if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=0755"); err != nil {
			return fmt.Errorf("an empty %s: %w", dir, err)
		}
	}
	for _, m := range []struct{ kind, dir string }{{"proc", "/proc"}, {"sysfs", "/sys"}} {
		if err := unix.Mount(m.kind, m.dir, m.kind, 0, ""); err != nil {
			return fmt.Errorf("a fresh %s: %w", m.dir, err)
		}
	}
	for _, dir := range []string{"/run/netns", stage.Own} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	return netlink.LinkSetUp(lo)
}

// Hidden are the directories that are empty on the stage; plugins' binaries
// cannot be there.
func Hidden() []string {
	return []string{"/run", "/var/run", "/var/lib", "/var/log", "/etc/cni"}
}
