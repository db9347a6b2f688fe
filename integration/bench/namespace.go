package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"runtime"

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
	err := onOwnThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("make a network namespace: %w", err)
		}
		f, err := os.Open("/proc/thread-self/ns/net")
		n.file = f
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

// do calls f on a thread that is in the namespace.
func (n *namespace) do(f func() error) error {
	return onOwnThread(func() error {
		if err := unix.Setns(int(n.file.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter a network namespace: %w", err)
		}
		return f()
	})
}

// exec runs a program in the namespace.
func (n *namespace) exec(ctx context.Context, path string, env []string, stdin []byte) (done execution, err error) {
	err = n.do(func() error {
		var execErr error
		done, execErr = execute(ctx, path, env, stdin)
		return execErr
	})
	return done, err
}

// links lists what is in the namespace beside its loopback.
func (n *namespace) links() (names []string, err error) {
	err = n.do(func() error {
		all, listErr := net.Interfaces()
		for _, link := range all {
			if link.Flags&net.FlagLoopback == 0 {
				names = append(names, link.Name)
			}
		}
		return listErr
	})
	return names, err
}

func (n *namespace) close() error { return n.file.Close() }

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
