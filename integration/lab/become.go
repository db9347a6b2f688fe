package lab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"

	"golang.org/x/sys/unix"
)

// Become replaces the running program by a command in the namespace, with a
// /sys of the namespace's own, as `ip netns exec` does. It returns only when it
// fails, and then the calling goroutine's thread is of no more use.
func (ns *Namespace) Become(command []string) error {
	path, err := exec.LookPath(command[0])
	if err != nil {
		return err
	}
	runtime.LockOSThread() // for good
	if err := unix.Setns(ns.Fd(), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter namespace %s: %w", ns.name, err)
	}
	if err := freshSys(); err != nil {
		return fmt.Errorf("mount /sys for namespace %s: %w", ns.name, err)
	}
	return fmt.Errorf("%s: %w", path, unix.Exec(path, command, os.Environ()))
}

// freshSys gives the thread mounts of its own with a /sys that shows its
// network namespace's devices.
func freshSys() error {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return err
	}
	// An initramfs cannot change its root's propagation when it is no mount
	// point; then it is private anyway.
	err := unix.Mount("", "/", "", unix.MS_SLAVE|unix.MS_REC, "")
	if err != nil && !errors.Is(err, unix.EINVAL) {
		return err
	}
	if err := unix.Unmount("/sys", unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) {
		return err
	}
	return unix.Mount("sysfs", "/sys", "sysfs", 0, "")
}
