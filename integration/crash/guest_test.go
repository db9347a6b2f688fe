package crash

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ropeway-net/ropeway/integration/kernels"
)

// runAsGuest makes the test binary the program of a virtual machine.
const runAsGuest = "ROPEWAY_CRASH_GUEST"

func TestMain(m *testing.M) {
	if os.Getenv(runAsGuest) != "" {
		err := guest(context.Background())
		fmt.Println("guest: failed:", err) // it ends by a power cut alone
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// guest waits for the name of its boot, mounts the disk and lets pods come and
// go until the power is cut. What earlier boots left must not be in the way.
func guest(ctx context.Context) error {
	node, pods, err := guestNode()
	if err != nil {
		return err
	}
	control, err := os.Open("/dev/ttyS1")
	if err != nil {
		return err
	}
	defer control.Close()
	if err = raw(control); err != nil {
		return err
	}
	if err = warmUp(ctx, *node, pods); err != nil {
		return err
	}
	fmt.Println(kernels.ReadyLine)
	boot, err := nameOfBoot(control)
	if err != nil {
		return err
	}
	fmt.Println("guest: this is", boot)
	if err := mountDisk(boot); err != nil {
		return err
	}
	if err := node.Status(ctx); err != nil {
		return err
	}
	return Workload{
		Node: node, Pods: pods, Prefix: boot, Log: "/disk/log",
		Attached: func(a Attachment) { fmt.Println("guest: attached", a.ID) },
	}.Run(ctx, 0)
}

// nameOfBoot waits for a whole line: the beginning of the first may be lost.
func nameOfBoot(control io.Reader) (string, error) {
	lines := bufio.NewScanner(control)
	for lines.Scan() {
		if strings.HasPrefix(lines.Text(), "boot-") {
			return lines.Text(), nil
		}
	}
	return "", errors.Join(errors.New("nobody says which boot it is"), lines.Err())
}

func guestNode() (*Node, []*Namespace, error) {
	var made []*Namespace
	for i := range podsOfReplay + 1 {
		ns, err := NewNamespace(fmt.Sprint("/run/netns/", i))
		if err != nil {
			return nil, nil, err
		}
		made = append(made, ns)
	}
	return &Node{
		Netns: made[0], Dir: "/disk/cni", Plugin: "/crash/bin/ropeway", PodCIDRs: podCIDRsOfReplay(),
	}, made[1:], nil
}

// warmUp lets pods come and go elsewhere, so that the kernel has loaded all of
// its modules that they need.
func warmUp(ctx context.Context, node Node, pods []*Namespace) error {
	node.Dir = "/run/crash"
	if err := os.Mkdir(node.Dir, 0o755); err != nil {
		return err
	}
	return Workload{Node: &node, Pods: pods, Prefix: "warm", Log: filepath.Join(node.Dir, "log")}.Run(ctx, 1)
}

// raw keeps the serial line from changing and echoing what comes.
func raw(line *os.File) error {
	settings, err := unix.IoctlGetTermios(int(line.Fd()), unix.TCGETS)
	if err != nil {
		return err
	}
	settings.Lflag &^= unix.ECHO | unix.ICANON | unix.ISIG
	settings.Cc[unix.VMIN], settings.Cc[unix.VTIME] = 1, 0
	return unix.IoctlSetTermios(int(line.Fd()), unix.TCSETS, settings)
}

// mountDisk mounts the disk as it is now, and makes the boot another one for
// whoever asks the kernel.
func mountDisk(boot string) error {
	device, err := os.Open("/dev/vda")
	if err != nil {
		return err
	}
	// What the kernel read when it looked for partitions was of another disk.
	err = unix.IoctlSetInt(int(device.Fd()), unix.BLKFLSBUF, 0)
	if err = errors.Join(err, device.Close(), os.MkdirAll("/disk", 0o755)); err != nil {
		return err
	}
	if err := unix.Mount("/dev/vda", "/disk", "ext4", unix.MS_NOATIME, ""); err != nil {
		return fmt.Errorf("mount the disk: %w", err)
	}
	id := filepath.Join("/run", "boot_id")
	if err := os.WriteFile(id, []byte(boot+"\n"), 0o600); err != nil {
		return err
	}
	return unix.Mount(id, "/proc/sys/kernel/random/boot_id", "", unix.MS_BIND, "")
}
