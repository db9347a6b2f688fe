package kernels

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Job is one command to run in a kernel of its own.
type Job struct {
	// Files are put into the guest: guest path to host path. Directories are
	// copied with everything below them. What is executable on the host gets
	// mode 0755, the rest 0644; all belongs to root.
	Files map[string]string
	// Command and its arguments, found by PATH in the guest.
	Command []string
	// Env are additional variables, NAME=value.
	Env []string
	// Dir is the command's working directory in the guest; empty is "/".
	Dir string
	// Output receives what the command prints, standard output and error, a
	// line at a time while it runs. Nil discards it.
	Output io.Writer
	// CPUs of the guest; 0 is 2.
	CPUs int
	// MemoryMB is the guest's memory in MiB, which also holds its files;
	// 0 is 2048.
	MemoryMB int
	// Modules are loaded before the command runs. Devices, nftables
	// expressions and protocols load theirs by themselves.
	Modules []string
	// Accelerator is normally left to [Fastest].
	Accelerator Accelerator
	// CacheDir is where the kernel is unpacked; empty is [CacheDir].
	CacheDir string
}

// Run boots Debian's kernel, runs the job's command in it and returns the
// command's exit code (128 and the signal's number when one killed it). Any
// reason why there is no exit code is an error: host programs that are missing
// (see [Ensure]), no kernel, a panic, the end of ctx. The error then shows the
// last lines of the console.
func Run(ctx context.Context, job Job) (exitCode int, err error) {
	if len(job.Command) == 0 {
		return 0, errors.New("run a kernel in qemu: no command")
	}
	if err = checkPackages(); err != nil {
		return 0, err
	}
	job, err = job.withDefaults()
	if err != nil {
		return 0, err
	}
	img, err := fetch(ctx, job.CacheDir)
	if err != nil {
		return 0, err
	}
	initramfs, err := buildInitramfs(ctx, img, job)
	if err != nil {
		return 0, fmt.Errorf("build the guest's file system: %w", err)
	}
	defer initramfs.Close()
	var failures []error
	for _, acc := range job.Accelerator.choose() {
		mark := "kernels-" + rand.Text()
		code, err := boot(ctx, qemuCommand{acc, qemuArgs(acc, img, mark, job), initramfs}, newConsole(mark, job.Output))
		if err == nil {
			return code, nil
		}
		failures = append(failures, err)
		if !errors.Is(err, errNotBooted) || ctx.Err() != nil {
			break
		}
	}
	return 0, errors.Join(failures...)
}

func (j Job) withDefaults() (Job, error) {
	if j.CPUs == 0 {
		j.CPUs = 2
	}
	if j.MemoryMB == 0 {
		j.MemoryMB = 2048
	}
	if j.Dir == "" {
		j.Dir = "/"
	}
	if j.CacheDir == "" {
		dir, err := CacheDir()
		if err != nil {
			return Job{}, err
		}
		j.CacheDir = dir
	}
	return j, nil
}

// script is what the guest's init runs.
func (j Job) script() string {
	var b strings.Builder
	fmt.Fprintf(&b, "cd %s || exit 127\n", quote(j.Dir))
	for _, v := range j.Env {
		fmt.Fprintf(&b, "export %s\n", quote(v))
	}
	b.WriteString("exec")
	for _, arg := range j.Command {
		b.WriteString(" " + quote(arg))
	}
	b.WriteString("\n")
	return b.String()
}

// quote makes one word of a shell out of s.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
