package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// namespace is a network namespace that only a file descriptor of this process
// holds: the kernel takes it down, with all that is in it, when the descriptor
// is closed or the process ends in whatever way.
type namespace struct {
	file *os.File
}

func newNamespace() (*namespace, error) {
	var n namespace
	err := onOwnThread(func() (err error) {
		if err = unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("make a network namespace: %w", err)
		}
		n.file, err = os.Open("/proc/thread-self/ns/net")
		return err
	})
	if err != nil {
		return nil, err
	}
	return &n, nil
}

// path names the namespace for other processes, as long as this one lives.
func (n *namespace) path() string {
	return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), n.file.Fd())
}

// links lists what is in the namespace beside its loopback.
func (n *namespace) links() ([]string, error) {
	h, err := netlink.NewHandleAt(netns.NsHandle(n.file.Fd()), unix.NETLINK_ROUTE)
	if err != nil {
		return nil, err
	}
	defer h.Close()
	for range 100 {
		all, err := h.LinkList()
		if errors.Is(err, netlink.ErrDumpInterrupted) {
			continue // another link came or went meanwhile
		}
		var names []string
		for _, link := range all {
			if name := link.Attrs().Name; name != "lo" {
				names = append(names, name)
			}
		}
		slices.Sort(names)
		return names, err
	}
	return nil, errors.New("list links: they never stand still")
}

func (n *namespace) close() error { return n.file.Close() }

// node stands for a machine: a network namespace, and a mount namespace with a
// /run of its own, since iptables keeps its lock there.
type node struct {
	*namespace
	mounts *os.File
}

func newNode() (*node, error) {
	n := &node{namespace: &namespace{}}
	err := onOwnThread(func() (err error) {
		if err = unix.Unshare(unix.CLONE_NEWNET | unix.CLONE_NEWNS); err != nil {
			return fmt.Errorf("make namespaces for a node: %w", err)
		}
		if err = unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			return fmt.Errorf("keep a node's mounts to itself: %w", err)
		}
		if err = unix.Mount("tmpfs", "/run", "tmpfs", 0, "mode=0755"); err != nil {
			return fmt.Errorf("mount a node's /run: %w", err)
		}
		if n.file, err = os.Open("/proc/thread-self/ns/net"); err != nil {
			return err
		}
		n.mounts, err = os.Open("/proc/thread-self/ns/mnt")
		return err
	})
	if err == nil {
		err = n.connect()
	}
	if err != nil {
		return nil, errors.Join(err, n.close())
	}
	return n, nil
}

// nodeAddress is the node's own, on its eth0.
const nodeAddress = "172.31.0.1"

// connect gives the node its loopback and an eth0 whose cable ends beside it.
func (n *node) connect() error {
	h, err := netlink.NewHandleAt(netns.NsHandle(n.file.Fd()), unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer h.Close()
	eth0 := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "eth0", MTU: 1500}, PeerName: "cable"}
	if err = h.LinkAdd(eth0); err != nil {
		return fmt.Errorf("make a node's eth0: %w", err)
	}
	addr, err := netlink.ParseAddr(nodeAddress + "/24")
	if err != nil {
		return err
	}
	if err = h.AddrAdd(eth0, addr); err != nil { // LinkAdd has filled in its index
		return fmt.Errorf("give a node its address: %w", err)
	}
	for _, name := range []string{"lo", "cable", "eth0"} {
		link, nameErr := h.LinkByName(name)
		if nameErr != nil {
			return nameErr
		}
		if err = h.LinkSetUp(link); err != nil {
			return fmt.Errorf("set a node's %s up: %w", name, err)
		}
	}
	return nil
}

// do calls f on a thread that is in the node.
func (n *node) do(f func() error) error {
	return onOwnThread(func() error {
		// Threads that share their working directory may not change mounts.
		if err := unix.Unshare(unix.CLONE_FS); err != nil {
			return fmt.Errorf("part from other threads: %w", err)
		}
		if err := unix.Setns(int(n.mounts.Fd()), unix.CLONE_NEWNS); err != nil {
			return fmt.Errorf("enter a node's mounts: %w", err)
		}
		if err := unix.Setns(int(n.file.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter a node's network: %w", err)
		}
		return f()
	})
}

// exec runs a program in the node.
func (n *node) exec(ctx context.Context, p process) (done execution, err error) {
	err = n.do(func() error {
		var execErr error
		done, execErr = execute(ctx, p)
		return execErr
	})
	return done, err
}

func (n *node) close() error {
	var errs []error
	for _, f := range []*os.File{n.file, n.mounts} {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	return errors.Join(errs...)
}

// onOwnThread calls f on a thread that ends with it, since a thread that
// changed its namespace must not serve other goroutines.
func onOwnThread(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		done <- f()
	}()
	return <-done
}
