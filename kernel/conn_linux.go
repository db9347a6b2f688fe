package kernel

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// socketTimeout bounds one request to the kernel, which answers in
// milliseconds unless it is in distress.
const socketTimeout = 10 * time.Second

// conn is one network namespace's kernel.
type conn struct {
	ns      netns.NsHandle // None is the namespace of the process
	procSys string         // where sysctls are
	// handle is the library's socket, for what it does well: links and
	// addresses.
	handle *netlink.Handle
	// strict is our own socket for the tables that grow with the cluster: the
	// kernel filters its dumps (NETLINK_GET_STRICT_CHK, Linux 4.20).
	strict map[int]*nl.SocketHandle
	// explained is our own socket for changes: the kernel explains its
	// refusals (NETLINK_EXT_ACK). Dumps must not have that, because the
	// library panics on a dump that ends with an explained error, as one of a
	// missing routing table does.
	explained map[int]*nl.SocketHandle
	firewalls firewallMemory
	tables    tableMemory
	culprits  culprits
}

var _ Kernel = (*conn)(nil)

// Open returns the kernel of the process's network namespace.
func Open(options ...Option) (Kernel, error) {
	c, err := newConn(netns.None())
	if err != nil {
		return nil, err // not c: a nil *conn is no nil Kernel
	}
	for _, set := range options {
		set(c)
	}
	return c, nil
}

// OpenAt returns the kernel of the network namespace that path names, for
// instance /run/netns/node1. Its use needs CAP_SYS_ADMIN.
func OpenAt(path string) (Kernel, error) {
	ns, err := netns.GetFromPath(path)
	if err != nil {
		return nil, fmt.Errorf("open network namespace %s: %w", path, err)
	}
	c, err := newConn(ns)
	if err != nil {
		return nil, fmt.Errorf("open network namespace %s: %w; give the path of a namespace, such as /run/netns/NAME", path, err)
	}
	return c, nil
}

// newConn takes over ns.
func newConn(ns netns.NsHandle) (_ *conn, err error) {
	c := &conn{ns: ns, procSys: ProcSys, culprits: culprits{ns: ns}}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("open netlink sockets: %w", err), c.Close())
		}
	}()
	if c.handle, err = netlink.NewHandleAt(ns, unix.NETLINK_ROUTE); err != nil {
		return nil, err
	}
	if err = c.handle.SetSocketTimeout(socketTimeout); err != nil {
		return nil, err
	}
	if c.strict, err = openSocket(ns); err != nil {
		return nil, err
	}
	fd := c.strict[unix.NETLINK_ROUTE].Socket.GetFd()
	err = unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_GET_STRICT_CHK, 1)
	if err != nil && !errors.Is(err, unix.ENOPROTOOPT) { // an older kernel; what is read is filtered again anyway
		return nil, err
	}
	if c.explained, err = openSocket(ns); err != nil {
		return nil, err
	}
	return c, c.explained[unix.NETLINK_ROUTE].Socket.SetExtAck(true)
}

// openSocket returns the library's form of a route netlink socket.
func openSocket(ns netns.NsHandle) (map[int]*nl.SocketHandle, error) {
	socket, err := nl.GetNetlinkSocketAt(ns, netns.None(), unix.NETLINK_ROUTE)
	if err != nil {
		return nil, err
	}
	timeout := unix.NsecToTimeval(socketTimeout.Nanoseconds())
	if err := errors.Join(socket.SetSendTimeout(&timeout), socket.SetReceiveTimeout(&timeout)); err != nil {
		socket.Close()
		return nil, err
	}
	return map[int]*nl.SocketHandle{unix.NETLINK_ROUTE: {Socket: socket}}, nil
}

// Close implements [Kernel].
func (c *conn) Close() error {
	if c.handle != nil {
		c.handle.Close()
		c.handle = nil
	}
	for _, sockets := range []map[int]*nl.SocketHandle{c.strict, c.explained} {
		for _, s := range sockets {
			s.Close()
		}
	}
	c.strict, c.explained = nil, nil
	if !c.ns.IsOpen() {
		return nil
	}
	return c.ns.Close()
}

// request returns a message for the socket that fits it.
func (c *conn) request(typ, flags int) *nl.NetlinkRequest {
	req := nl.NewNetlinkRequest(typ, flags)
	req.Sockets = c.explained
	if flags&unix.NLM_F_DUMP != 0 {
		req.Sockets = c.strict
	}
	return req
}

// inNamespace calls f on a thread that is in the connection's namespace:
// /proc/sys/net shows that of the thread that looks.
func (c *conn) inNamespace(f func() error) error {
	if !c.ns.IsOpen() {
		return f()
	}
	runtime.LockOSThread()
	own, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		runtime.UnlockOSThread()
		return err
	}
	defer own.Close()
	if err = netns.Set(c.ns); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("enter network namespace: %w", err)
	}
	err = f()
	if back := unix.Setns(int(own.Fd()), unix.CLONE_NEWNET); back != nil {
		// The thread stays locked, and so ends with its goroutine.
		return errors.Join(err, fmt.Errorf("return from network namespace: %w", back))
	}
	runtime.UnlockOSThread()
	return err
}
