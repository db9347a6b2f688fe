package kernel

import (
	"errors"
	"fmt"
	"syscall"

	mdl "github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/ropeway-net/ropeway/coalesce"
)

// watchBuffer holds some thousand notifications. When more come at once the
// kernel says that some were lost, which is as good as a report.
const watchBuffer = 1 << 20 // bytes

// maxNotification is more than the kernel says in one datagram, in bytes.
const maxNotification = 64 << 10

// subscription is a socket that is told of changes.
type subscription struct {
	fd  int
	buf []byte
}

// subscribe opens a socket that is told of what the groups of a netlink family
// are about, in the connection's namespace.
func (c *conn) subscribe(family int, groups uint32) (*subscription, error) {
	s := &subscription{fd: -1, buf: make([]byte, maxNotification)}
	err := c.inNamespace(func() (err error) {
		s.fd, err = unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, family)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("watch the kernel: %w", err)
	}
	if err = unix.Bind(s.fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: groups}); err != nil {
		s.Close()
		return nil, fmt.Errorf("watch the kernel: %w", err)
	}
	// Without privilege the buffer stays as small as the system has it.
	_ = unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, watchBuffer)
	return s, nil
}

func (s *subscription) Close() { _ = unix.Close(s.fd) }

// source judges each notification, since some keep what judges current, and
// reports once for a reading. It calls lost when notifications were.
func (s *subscription) source(to *reports, lost func(), judge func(mdl.Message) Report) coalesce.Source {
	return coalesce.Source{FD: s.fd, Read: func() error {
		report := nothing
		defer func() { to.send(report) }()
		for {
			messages, err := s.receive()
			switch {
			case errors.Is(err, unix.EAGAIN):
				return nil
			case errors.Is(err, unix.ENOBUFS):
				lost()
				report = Changed
			case err != nil:
				return err
			}
			for _, m := range messages {
				report = max(report, judge(m))
			}
		}
	}}
}

// receive returns the notifications of one datagram: EAGAIN when there is none,
// ENOBUFS when some are lost.
func (s *subscription) receive() ([]mdl.Message, error) {
	n, _, flags, from, err := unix.Recvmsg(s.fd, s.buf, nil, unix.MSG_DONTWAIT)
	if errors.Is(err, unix.EINTR) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if kernel, ok := from.(*unix.SockaddrNetlink); !ok || kernel.Pid != 0 {
		return nil, nil // another process's
	}
	if flags&unix.MSG_TRUNC != 0 {
		return nil, unix.ENOBUFS
	}
	parsed, err := syscall.ParseNetlinkMessage(s.buf[:n])
	if err != nil {
		return nil, unix.ENOBUFS
	}
	messages := make([]mdl.Message, len(parsed))
	for i, m := range parsed {
		messages[i] = mdl.Message{
			Header: mdl.Header{
				Length: m.Header.Len, Type: mdl.HeaderType(m.Header.Type), Flags: mdl.HeaderFlags(m.Header.Flags),
				Sequence: m.Header.Seq, PID: m.Header.Pid,
			},
			Data: m.Data,
		}
	}
	return messages, nil
}
