package kube

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// layout is where a machine's directories are on this one.
type layout struct{ dir string }

func (l layout) upper() string  { return filepath.Join(l.dir, "root") }
func (l layout) work() string   { return filepath.Join(l.dir, "work") }
func (l layout) merged() string { return filepath.Join(l.dir, "mnt") }

// build is [BuildDir], of which a machine's directory is a part.
func (l layout) build() string    { return filepath.Dir(filepath.Dir(filepath.Dir(l.dir))) }
func (l layout) services() string { return filepath.Join(l.dir, "services") }

// disks are directories of the machine that must lie on a real file system,
// since containers' own overlays are stacked there or space is measured.
func disks() []string { return []string{"/var/lib/containerd", "/var/lib/kubelet", "/var/log"} }

func (l layout) disk(path string) string { return filepath.Join(l.dir, "disk", path) }

// path is where a file of the machine is found from outside. Directories of
// disks have another place.
func (l layout) path(path string) string { return filepath.Join(l.upper(), path) }

func (l layout) make() error {
	dirs := []string{l.upper(), l.work(), l.merged(), l.services()}
	for _, d := range disks() {
		dirs = append(dirs, l.disk(d))
	}
	for _, d := range dirs {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return err
		}
	}
	return nil
}

// enterRoot gives the calling process, which has a mount namespace of its own,
// the machine's root: this machine's, with everything written to it elsewhere.
func (l layout) enterRoot() error {
	if err := unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	options := "lowerdir=/,upperdir=" + l.upper() + ",workdir=" + l.work()
	root := l.merged()
	if err := unix.Mount("overlay", root, "overlay", 0, options); err != nil {
		return fmt.Errorf("mount the root as an overlay: %w", err)
	}
	type mount struct {
		source, target, kind string
		flags                uintptr
	}
	mounts := []mount{
		{"proc", "/proc", "proc", 0},
		{"sysfs", "/sys", "sysfs", 0},
		{"/sys/fs/cgroup", "/sys/fs/cgroup", "", unix.MS_BIND | unix.MS_REC},
		{"/dev", "/dev", "", unix.MS_BIND | unix.MS_REC},
		{"tmpfs", "/run", "tmpfs", 0},
		{"tmpfs", "/tmp", "tmpfs", 0},
		// Programs, images and the log are where they are outside.
		{l.build(), l.build(), "", unix.MS_BIND},
	}
	for _, d := range disks() {
		mounts = append(mounts, mount{l.disk(d), d, "", unix.MS_BIND})
	}
	for _, m := range mounts {
		target := filepath.Join(root, m.target)
		if err := os.MkdirAll(target, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(m.source, target, m.kind, m.flags, ""); err != nil {
			return fmt.Errorf("mount %s: %w", m.target, err)
		}
	}
	return switchRoot(root)
}

// switchRoot makes root the process's root and lets go of the old one.
func switchRoot(root string) error {
	if err := unix.Chdir(root); err != nil {
		return err
	}
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("pivot root: %w", err)
	}
	// Both are at "." now, the old one on top (pivot_root(2)).
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("unmount the old root: %w", err)
	}
	if err := unix.Chdir("/"); err != nil {
		return err
	}
	// kubelet's mounts must reach containers.
	return unix.Mount("", "/", "", unix.MS_SHARED|unix.MS_REC, "")
}
