package kernels

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Accelerator is how qemu runs the guest's instructions.
type Accelerator string

// The accelerators.
const (
	// Fastest is KVM where it works, otherwise TCG.
	Fastest Accelerator = ""
	// KVM runs them on the processor.
	KVM Accelerator = "kvm"
	// TCG emulates them, about ten times slower, and works everywhere.
	TCG Accelerator = "tcg"
)

const (
	// kvmPatience is how long a guest on KVM may take to its first process
	// (1 s on a real machine) until emulation is tried instead: /dev/kvm may
	// exist on a virtual machine and yet never get a guest going.
	kvmPatience = 15 * time.Second
	// powerOffPatience is how long the guest may take after its last word.
	powerOffPatience = 10 * time.Second
)

// errNotBooted means that the guest's init script never spoke.
var errNotBooted = errors.New("the guest did not boot")

// choose lists the accelerators to try, one after the other.
func (acc Accelerator) choose() []Accelerator {
	switch {
	case acc != Fastest:
		return []Accelerator{acc}
	case kvmUsable():
		return []Accelerator{KVM, TCG}
	}
	return []Accelerator{TCG}
}

// kvmUsable tells whether /dev/kvm can be opened and the processor has the
// extension for it. A /dev/kvm without the extension belongs to a hypervisor
// that runs only guests made for it; Debian's kernel spins there for ever.
func kvmUsable() bool {
	f, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
	if err != nil {
		return false
	}
	_ = f.Close()
	info, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return false
	}
	for line := range bytes.Lines(info) {
		if name, flags, _ := strings.Cut(string(line), ":"); strings.TrimSpace(name) == "flags" {
			words := strings.Fields(flags)
			return slices.Contains(words, "vmx") || slices.Contains(words, "svm")
		}
	}
	return false
}

func qemuArgs(acc Accelerator, img image, mark string, job Job) []string {
	accel := string(acc)
	if acc == TCG {
		accel = "tcg,thread=multi"
	}
	// An oops ends the run like a panic: what comes after it proves nothing.
	// On a busy machine an emulated timer may seem not to work while it is tried.
	kernelArgs := "console=ttyS0 quiet panic=-1 oops=panic no_timer_check kernels.mark=" + mark
	return []string{
		"-accel", accel, "-cpu", "max",
		"-smp", strconv.Itoa(job.CPUs), "-m", strconv.Itoa(job.MemoryMB),
		"-nodefaults", "-nic", "none", "-display", "none", "-monitor", "none", "-serial", "stdio",
		"-no-reboot", "-no-user-config",
		"-kernel", img.vmlinuz, "-initrd", inheritedFile, "-append", kernelArgs,
	}
}

// inheritedFile is the first file that a process inherits beyond the standard
// three.
const inheritedFile = "/proc/self/fd/3"

// qemuCommand is how to start qemu.
type qemuCommand struct {
	acc       Accelerator
	args      []string
	initramfs *os.File
}

// boot runs qemu until the guest has powered off, and returns the command's
// exit code. It wraps errNotBooted when another accelerator may do better.
func boot(ctx context.Context, q qemuCommand, c *console) (int, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	// The kernel sends Pdeathsig when the thread that started qemu ends, so
	// that thread must stay: qemu then never outlives this process.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd := exec.CommandContext(ctx, qemuProgram, q.args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.ExtraFiles = []*os.File{q.initramfs}
	cmd.Stdout = c
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("start %s: %w", qemuProgram, err)
	}
	done := make(chan struct{})
	go watch(cancel, q.acc, c, done)
	err := cmd.Wait()
	close(done)
	if code, ok := c.exit(); ok {
		return code, nil
	}
	return 0, failure(ctx, err, complaint.String(), c)
}

// watch ends a guest that does not come up on KVM or does not power off.
func watch(cancel context.CancelCauseFunc, acc Accelerator, c *console, done <-chan struct{}) {
	var patience <-chan time.Time
	if acc == KVM {
		timer := time.NewTimer(kvmPatience)
		defer timer.Stop()
		patience = timer.C
	}
	select {
	case <-done:
		return
	case <-patience:
		cancel(fmt.Errorf("no sign of life after %v", kvmPatience))
		return
	case <-c.booted:
	}
	select {
	case <-done:
		return
	case <-c.ended:
	}
	timer := time.NewTimer(powerOffPatience)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
		cancel(nil)
	}
}

// failure says why there is no exit code, with the last lines of the console.
func failure(ctx context.Context, err error, complaint string, c *console) error {
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	} else if err == nil {
		err = errors.New("the guest stopped without the command's exit code")
	}
	select {
	case <-c.booted:
	default:
		err = fmt.Errorf("%w: %w", errNotBooted, err)
	}
	if line := c.panicked(); line != "" {
		err = fmt.Errorf("the guest's kernel panicked (%s): %w", line, err)
	}
	return fmt.Errorf("run a kernel in qemu: %w; %slast lines of its console:\n%s", err, complaint, c.last())
}
