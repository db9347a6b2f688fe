package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
)

// insideVariable says that this process has a mount namespace of its own.
const insideVariable = "ROPEWAY_BENCH_INSIDE"

// runInside runs this program again in a mount namespace of its own, whose mounts
// end with it. It is true when that has been done.
func runInside(ctx context.Context) (bool, error) {
	if os.Getenv(insideVariable) != "" {
		return false, nil
	}
	cmd := exec.CommandContext(ctx, "/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), insideVariable+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	runtime.LockOSThread() // the kernel ends the other with the thread that made it
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGTERM}
	return true, cmd.Run()
}

// stateDisk is where the state of contenders lies: ext4 with a journal, as on most
// nodes, in a file of the disk. A disk that has none, as virtual machines have for
// short lives, makes a file slower the more were deleted in the last minute, and
// so every contender by what the others did. The directory is returned with a
// description.
func stateDisk(ctx context.Context, dir string) (states, description string, err error) {
	states = filepath.Join(dir, "states")
	if err := os.MkdirAll(states, 0o755); err != nil {
		return "", "", err
	}
	image := states + ".img"
	if err := os.Remove(image); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", "", err
	}
	const size = 4 << 30 // bytes, of which few are ever written
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		return "", "", err
	}
	if err := os.Truncate(image, size); err != nil {
		return "", "", err
	}
	for _, command := range [][]string{
		{"mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0", image},
		{"mount", "-o", "loop", image, states},
	} {
		out, err := exec.CommandContext(ctx, command[0], command[1:]...).CombinedOutput()
		if err != nil {
			_ = os.Remove(image)
			return states, filesystemOf(states) + " of this disk, since there is no other: " + strings.TrimSpace(string(out)) + " " + err.Error(), nil
		}
	}
	// The mount keeps the file; who is killed leaves none.
	if err := os.Remove(image); err != nil {
		return "", "", fmt.Errorf("unlink the disk of states: %w", err)
	}
	return states, "ext4 with a journal, in a file on " + filesystemOf(dir), nil
}
