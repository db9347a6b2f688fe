package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// madePinDir exists while [PinDir] is a directory that some lab made. The lab
// that finds it empty removes it, so that a machine without named namespaces
// looks afterwards as it did before.
const madePinDir = Root + "/.made-run-netns"

// createPin makes the empty file onto which a namespace is bound. Unlike
// ip-netns(8) it does not turn the directory into a mount point, which would
// stay behind.
func createPin(path string) error {
	for range 100 {
		if err := createPinDir(); err != nil {
			return err
		}
		f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL, 0o444)
		if errors.Is(err, fs.ErrNotExist) {
			continue // another lab has just removed the empty directory
		}
		if err != nil {
			return err
		}
		return f.Close()
	}
	return fmt.Errorf("%s disappears again and again", filepath.Dir(path))
}

func createPinDir() error {
	err := os.Mkdir(PinDir, 0o755)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return os.WriteFile(madePinDir, nil, 0o600)
}

// unpin undoes createPin and the mount on it, as far as they are there.
func unpin(path string) error {
	err := unix.Unmount(path, unix.MNT_DETACH)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) {
		err = nil // not mounted
	}
	if err != nil {
		return fmt.Errorf("unmount %s: %w", path, err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// removePinDir removes [PinDir] when a lab made it and nobody uses it any more.
func removePinDir() {
	if _, err := os.Lstat(madePinDir); err != nil {
		return
	}
	err := os.Remove(PinDir)
	if err == nil || errors.Is(err, unix.EBUSY) {
		// EBUSY: ip-netns(8) has made it a mount point, so it is in use.
		_ = os.Remove(madePinDir)
	}
}
