package lab

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// PinDir is where named network namespaces are, by the convention of ip-netns(8).
const PinDir = "/run/netns"

// Namespace is a network namespace with a name under [PinDir].
type Namespace struct {
	name string
	file *os.File
}

// Path is the file that pins the namespace.
func (ns *Namespace) Path() string { return filepath.Join(PinDir, ns.name) }

// createNamespace makes a namespace with its loopback up and pins it. It fails
// when the name is taken.
func createNamespace(name string) (*Namespace, error) {
	path := filepath.Join(PinDir, name)
	if err := createPin(path); err != nil {
		return nil, fmt.Errorf("create namespace %s: %w", name, err)
	}
	err := onOwnThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("unshare: %w; are you root?", err)
		}
		return unix.Mount("/proc/thread-self/ns/net", path, "", unix.MS_BIND, "")
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("create namespace %s: %w", name, err), unpin(path))
	}
	ns, err := openNamespace(name)
	if err != nil {
		return nil, errors.Join(err, unpin(path))
	}
	if err := ns.prepare(); err != nil {
		return nil, errors.Join(fmt.Errorf("create namespace %s: %w", name, err), ns.Delete())
	}
	return ns, nil
}

// openNamespace takes a namespace that exists.
func openNamespace(name string) (*Namespace, error) {
	path := filepath.Join(PinDir, name)
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open namespace %s: %w", name, err)
	}
	var stat unix.Statfs_t
	if statErr := unix.Fstatfs(int(file.Fd()), &stat); statErr != nil || stat.Type != unix.NSFS_MAGIC {
		_ = file.Close()
		return nil, fmt.Errorf("open namespace %s: %s is no namespace but a leftover file; remove it", name, path)
	}
	return &Namespace{name: name, file: file}, nil
}

// Borrow takes a namespace that somebody else keeps at path. Give it back with
// [Namespace.Release], not Delete.
func Borrow(path string) (*Namespace, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("borrow namespace: %w", err)
	}
	return &Namespace{name: filepath.Base(path), file: file}, nil
}

// Release lets go of a borrowed namespace.
func (ns *Namespace) Release() { _ = ns.file.Close() }

// prepare brings loopback up and sets what a namespace inherits from the
// machine to the kernel's own defaults, so that labs are alike everywhere.
func (ns *Namespace) prepare() error {
	err := ns.Sysctl(
		"net/ipv4/ip_forward=0",
		"net/ipv4/conf/all/rp_filter=0",
		"net/ipv4/conf/default/rp_filter=0",
		"net/ipv6/conf/all/disable_ipv6=0",
		"net/ipv6/conf/default/disable_ipv6=0",
	)
	if err != nil {
		return err
	}
	return ns.Netlink(func(h *netlink.Handle) error {
		lo, err := h.LinkByName("lo")
		if err != nil {
			return err
		}
		return h.LinkSetUp(lo)
	})
}

// Delete removes the name. The kernel removes the namespace with its links as
// soon as no process or socket is left in it.
func (ns *Namespace) Delete() error {
	_ = ns.file.Close() // of a namespace that could not be opened it is nil
	return unpin(ns.Path())
}

// Do runs fn in the namespace, on a thread that goes back afterwards; should it
// be unable to, the thread ends. What fn starts in other goroutines runs
// outside. A panic or runtime.Goexit of fn (as by testing's FailNow) happens to
// the caller.
func (ns *Namespace) Do(fn func() error) error {
	return onOwnThread(func() error {
		if err := unix.Setns(ns.Fd(), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter namespace %s: %w", ns.name, err)
		}
		return fn()
	})
}

// Netlink runs fn with a netlink handle of the namespace.
func (ns *Namespace) Netlink(fn func(*netlink.Handle) error) error {
	var h *netlink.Handle
	err := ns.Do(func() (err error) {
		h, err = netlink.NewHandle(unix.NETLINK_ROUTE)
		return err
	})
	if err != nil {
		return fmt.Errorf("namespace %s: netlink: %w", ns.name, err)
	}
	defer h.Close()
	if err := fn(h); err != nil {
		return fmt.Errorf("namespace %s: %w", ns.name, err)
	}
	return nil
}

// Dump repeats a listing of links, addresses or neighbours that changes on the
// machine have interrupted.
func Dump[T any](list func() ([]T, error)) ([]T, error) {
	for range 100 {
		found, err := list()
		if !errors.Is(err, netlink.ErrDumpInterrupted) {
			return found, err
		}
	}
	return list()
}

// Fd is an open descriptor of the namespace, for libraries that want one. It
// is valid until Delete.
func (ns *Namespace) Fd() int { return int(ns.file.Fd()) }

// onOwnThread runs fn in a goroutine whose thread it may move to another
// network namespace.
func onOwnThread(fn func() error) error {
	var outcome struct {
		err      error
		returned bool
		panicked any
	}
	done := make(chan struct{})
	goOnThread(func() {
		defer close(done)
		origin, err := os.Open("/proc/thread-self/ns/net")
		if err != nil {
			outcome.err, outcome.returned = err, true
			runtime.UnlockOSThread()
			return
		}
		defer func() {
			// A goroutine that ends locked takes its thread with it.
			if unix.Setns(int(origin.Fd()), unix.CLONE_NEWNET) == nil {
				runtime.UnlockOSThread()
			}
			_ = origin.Close()
		}()
		defer func() {
			if p := recover(); p != nil {
				outcome.panicked = fmt.Sprintf("%v\n\n%s", p, debug.Stack())
			}
		}()
		outcome.err = fn()
		outcome.returned = true
	})
	<-done
	switch {
	case outcome.panicked != nil:
		panic(outcome.panicked)
	case !outcome.returned:
		runtime.Goexit()
	}
	return outcome.err
}

// goOnThread runs fn in a goroutine that is locked to a thread, never to the
// main one: /proc/self shows the main thread's namespace, and a main thread
// whose goroutine ends locked is not ended but kept for ever, with the
// namespace that it is in.
func goOnThread(fn func()) {
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() != unix.Getpid() {
			fn()
			return
		}
		locked := make(chan struct{})
		go func() {
			runtime.LockOSThread() // not the main thread, which is taken
			close(locked)
			fn()
		}()
		<-locked
		runtime.UnlockOSThread()
	}()
}

// Sysctl writes values, each given as path=value with the path below /proc/sys,
// for instance net/ipv4/ip_forward=1.
func (ns *Namespace) Sysctl(assignments ...string) error {
	return ns.Do(func() error {
		for _, a := range assignments {
			path, value, ok := strings.Cut(a, "=")
			if !ok {
				return fmt.Errorf("sysctl %q is not written as path=value", a)
			}
			if err := os.WriteFile(filepath.Join("/proc/sys", path), []byte(value), 0); err != nil {
				return fmt.Errorf("namespace %s: sysctl %s: %w", ns.name, a, err)
			}
		}
		return nil
	})
}

// ReadSysctl returns the value of a path below /proc/sys.
func (ns *Namespace) ReadSysctl(path string) (value string, err error) {
	err = ns.Do(func() error {
		b, readErr := os.ReadFile(filepath.Join("/proc/sys", path))
		value = strings.TrimSpace(string(b))
		return readErr
	})
	return value, err
}
