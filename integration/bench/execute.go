package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// process is a program to be run.
type process struct {
	path  string
	args  []string
	env   []string
	stdin []byte
}

// execution is what a process printed, how long it took from before the fork
// until it was reaped, and the processor time of it and its children.
type execution struct {
	stdout  []byte
	elapsed time.Duration
	cpu     time.Duration
}

// execute runs a program. It gets files in memory instead of pipes, so that
// the measured time has no goroutine of ours in it.
func execute(ctx context.Context, p process) (execution, error) {
	in, err := memoryFile(p.stdin)
	if err != nil {
		return execution{}, err
	}
	defer in.Close()
	out, err := memoryFile(nil)
	if err != nil {
		return execution{}, err
	}
	defer out.Close()
	complaint, err := memoryFile(nil)
	if err != nil {
		return execution{}, err
	}
	defer complaint.Close()
	cmd := exec.CommandContext(ctx, p.path, p.args...)
	cmd.Env = p.env
	cmd.Stdin, cmd.Stdout, cmd.Stderr = in, out, complaint
	start := time.Now()
	err = cmd.Run()
	elapsed := time.Since(start)
	stdout, readErr := content(out)
	if err != nil {
		stderr, _ := content(complaint)
		return execution{}, fmt.Errorf("%s: %w: %s%s", filepath.Base(p.path), err, stdout, stderr)
	}
	return execution{stdout, elapsed, cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()}, readErr
}

func memoryFile(data []byte) (*os.File, error) {
	fd, err := unix.MemfdCreate("bench", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make a file in memory: %w", err)
	}
	f := os.NewFile(uintptr(fd), "memory")
	_, err = f.Write(data)
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// content reads a file from its start; the process moved the shared offset.
func content(f *os.File) ([]byte, error) {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	return io.ReadAll(f)
}
