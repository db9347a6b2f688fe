package disk

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/ropeway-net/ropeway/statedir"
)

// Loop mounts the file system in a file on dir, until the returned function is
// called.
func Loop(path, dir, fsType string) (unmount func() error, err error) {
	device, err := attach(path)
	if err != nil {
		return nil, fmt.Errorf("mount %s: %w", path, err)
	}
	// Once the mount has it open, the device goes with the mount.
	defer device.Close()
	if err := unix.Mount(device.Name(), dir, fsType, unix.MS_NOATIME, ""); err != nil {
		return nil, fmt.Errorf("mount %s: %w", path, err)
	}
	return func() error { return unix.Unmount(dir, 0) }, nil
}

// attach gives a file a loop device, which ends when nobody has it open.
func attach(path string) (*os.File, error) {
	// The runtime's poller would ask this process, which serves the file, and could
	// keep it from answering.
	f, err := statedir.Open(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("%w; is the module loop loaded?", err)
	}
	defer control.Close()
	for range 100 {
		number, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			return nil, err
		}
		device, err := os.OpenFile(fmt.Sprint("/dev/loop", number), os.O_RDWR, 0)
		if err != nil {
			return nil, err
		}
		config := unix.LoopConfig{Fd: uint32(f.Fd()), Size: sectorSize}
		config.Info.Flags = unix.LO_FLAGS_AUTOCLEAR
		err = unix.IoctlLoopConfigure(int(device.Fd()), &config)
		if err == nil {
			return device, nil
		}
		_ = device.Close()
		if !errors.Is(err, unix.EBUSY) { // somebody was faster
			return nil, fmt.Errorf("configure loop device: %w", err)
		}
	}
	return nil, errors.New("no loop device stays free")
}
