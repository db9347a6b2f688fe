package kernel

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// PodNetns is a pod's network namespace together with the caller's: one
// netlink socket in each. It is for one goroutine at a time.
type PodNetns struct {
	path string
	fd   int
	pod  *routeSocket
	host *routeSocket
	// The library's sockets, for reading; nil until openReaders.
	podReader, hostReader *netlink.Handle
}

// OpenPodNetns opens the namespace that path names. The error wraps
// fs.ErrNotExist, [ErrNotNetns] or [ErrOwnNetns].
func OpenPodNetns(path string) (*PodNetns, error) {
	fd, err := openNetns(path)
	if err != nil {
		return nil, err
	}
	n := &PodNetns{path: path, fd: fd}
	if err := n.openSockets(); err != nil {
		n.Close()
		return nil, err
	}
	return n, nil
}

// openSockets asks the first socket for the caller's namespace, which takes a sixth
// of the time that a look into /proc takes.
func (n *PodNetns) openSockets() (err error) {
	if n.host, err = newRouteSocket(); err != nil {
		return fmt.Errorf("open a netlink socket: %w", err)
	}
	own, err := unix.IoctlRetInt(n.host.fd, unix.SIOCGSKNS)
	if err != nil {
		return fmt.Errorf("ask for the network namespace of the process: %w%s", err, remedyFor(err))
	}
	defer func() { _ = unix.Close(own) }()
	var theirs, ours unix.Stat_t
	if err = errors.Join(unix.Fstat(n.fd, &theirs), unix.Fstat(own, &ours)); err != nil {
		return err
	}
	if sameNetns(theirs, ours) {
		return fmt.Errorf("network namespace %s: %w", n.path, ErrOwnNetns)
	}
	if n.pod, err = openRouteSocketIn(n.fd, own); err != nil {
		return fmt.Errorf("enter network namespace %s: %w%s", n.path, err, remedyFor(err))
	}
	return nil
}

// OwnNetns identifies the caller's network namespace on this machine.
func OwnNetns() (uint64, error) {
	var own unix.Stat_t
	if err := unix.Stat(ownNetns, &own); err != nil {
		return 0, &os.PathError{Op: "stat", Path: ownNetns, Err: err}
	}
	return own.Ino, nil
}

const ownNetns = "/proc/thread-self/ns/net"

// openReaders opens the library's sockets.
func (n *PodNetns) openReaders() (err error) {
	if n.hostReader == nil {
		if n.hostReader, err = netlink.NewHandle(unix.NETLINK_ROUTE); err != nil {
			return fmt.Errorf("open a netlink socket: %w", err)
		}
	}
	if n.podReader == nil {
		if n.podReader, err = netlink.NewHandleAt(netns.NsHandle(n.fd), unix.NETLINK_ROUTE); err != nil {
			return fmt.Errorf("enter network namespace %s: %w", n.path, err)
		}
	}
	return nil
}

// CheckPodNetns says whether path can be a pod's namespace, with the errors of
// [OpenPodNetns], without opening sockets.
func CheckPodNetns(path string) error {
	fd, err := openOtherNetns(path)
	if err != nil {
		return err
	}
	return unix.Close(fd)
}

// Close gives back the sockets and the namespace.
func (n *PodNetns) Close() {
	if n.pod != nil {
		n.pod.Close()
	}
	if n.host != nil {
		n.host.Close()
	}
	for _, h := range []*netlink.Handle{n.podReader, n.hostReader} {
		if h != nil {
			h.Close()
		}
	}
	_ = unix.Close(n.fd)
}

// HasLink says whether an interface of that name is in the pod's namespace. The
// end of a link that was detached just now it deletes.
func (n *PodNetns) HasLink(ctx context.Context, name string) (bool, error) {
	found, err := n.hasLink(name)
	if !found || err != nil {
		return false, err
	}
	if err := DeleteRetired(ctx); err != nil {
		return false, err
	}
	return n.hasLink(name)
}

func (n *PodNetns) hasLink(name string) (bool, error) {
	_, found, err := n.pod.findLink(name)
	if err != nil {
		return false, fmt.Errorf("look for %s in %s: %w", name, n.path, err)
	}
	return found, nil
}

// openOtherNetns opens the namespace that path names, which must not be the one of
// the calling thread.
func openOtherNetns(path string) (int, error) {
	fd, err := openNetns(path)
	if err != nil {
		return -1, err
	}
	var theirs, ours unix.Stat_t
	if err = unix.Fstat(fd, &theirs); err == nil {
		if err = unix.Stat(ownNetns, &ours); err != nil {
			err = &os.PathError{Op: "stat", Path: ownNetns, Err: err}
		}
	}
	if err == nil && sameNetns(theirs, ours) {
		err = fmt.Errorf("network namespace %s: %w", path, ErrOwnNetns)
	}
	if err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

func sameNetns(a, b unix.Stat_t) bool { return a.Dev == b.Dev && a.Ino == b.Ino }

// openNetns opens path and makes sure that it is a network namespace.
func openNetns(path string) (_ int, err error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return -1, &os.PathError{Op: "open network namespace", Path: path, Err: err}
	}
	defer func() {
		if err != nil {
			_ = unix.Close(fd)
		}
	}()
	var fs unix.Statfs_t
	if err = unix.Fstatfs(fd, &fs); err != nil {
		return -1, fmt.Errorf("network namespace %s: %w", path, err)
	}
	// An ioctl number means what the file's driver says, so it is asked only
	// of a namespace file.
	if fs.Type != unix.NSFS_MAGIC {
		return -1, fmt.Errorf("network namespace %s: %w", path, ErrNotNetns)
	}
	kind, err := unix.IoctlRetInt(fd, unix.NS_GET_NSTYPE)
	if err != nil {
		return -1, fmt.Errorf("network namespace %s: %w", path, err)
	}
	if kind != unix.CLONE_NEWNET {
		return -1, fmt.Errorf("network namespace %s: %w", path, ErrNotNetns)
	}
	return fd, nil
}

// inPod runs f on a thread that is in the pod's namespace; only what netlink
// cannot do is worth it.
func (n *PodNetns) inPod(f func() error) error {
	result := make(chan error)
	go func() {
		// Not unlocked: a thread that may be in the wrong namespace ends with
		// its goroutine.
		runtime.LockOSThread()
		if err := unix.Setns(n.fd, unix.CLONE_NEWNET); err != nil {
			result <- fmt.Errorf("enter network namespace %s: %w", n.path, err)
			return
		}
		result <- f()
	}()
	return <-result
}

// remedyFor is what to do about an error that has one remedy wherever it
// comes from, to be appended to the message.
func remedyFor(err error) string {
	switch {
	case errors.Is(err, unix.EPERM):
		return "; run with CAP_NET_ADMIN and CAP_SYS_ADMIN"
	case errors.Is(err, unix.EROFS):
		return "; /proc/sys must be writable"
	}
	return ""
}
