package kernel

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	mdl "github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/ropeway-net/ropeway/coalesce"
)

const (
	// watchBuffer holds some thousand notifications, in bytes. When more come at once
	// the kernel says that some were lost, which is as good as a report.
	watchBuffer = 1 << 20
	// watchRest follows a reading that told of pods. A plugin makes a pod's link in
	// less, so that it is disturbed once or twice and not a dozen times. After all
	// else there is no rest: whoever has damaged something may not live long.
	watchRest = 5 * time.Millisecond
	// maxNotification is more than the kernel says in one datagram, in bytes.
	maxNotification = 64 << 10
	// mostDatagrams are read before a report is made of them.
	mostDatagrams = 1024
)

// subscription is a socket that is told of changes.
type subscription struct {
	fd     int
	reader *coalesce.Reader
	buf    []byte
}

// subscribe opens a socket that is told of what the groups of a netlink family
// are about, in the connection's namespace.
func (c *conn) subscribe(family int, groups uint32) (_ *subscription, err error) {
	s := &subscription{fd: -1, buf: make([]byte, maxNotification)}
	err = c.inNamespace(func() (err error) {
		s.fd, err = unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, family)
		return err
	})
	if err == nil {
		setReceiveBuffer(s.fd, watchBuffer)
		err = unix.Bind(s.fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: groups})
	}
	if err == nil {
		s.reader, err = coalesce.New(s.fd)
	}
	if err != nil {
		s.Close()
		return nil, fmt.Errorf("watch the kernel: %w", err)
	}
	return s, nil
}

// setReceiveBuffer goes beyond what the system allows everybody
// (net.core.rmem_max), as far as the process may.
func setReceiveBuffer(fd, size int) {
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, size) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, size)
	}
}

// Close ends a subscription that was never received from, and whose run has ended.
func (s *subscription) Close() {
	if s.reader != nil {
		s.reader.Close()
	}
	if s.fd >= 0 {
		_ = unix.Close(s.fd)
	}
}

// report makes a report of each reading until ctx ends or the socket breaks. Each
// notification is judged, since some keep what judges current; lost is called when
// some were.
func (s *subscription) report(ctx context.Context, to *reports, lost func(), judge func(mdl.Message) Report) error {
	return s.reader.Run(ctx, watchRest, func() (bool, error) {
		report, err := s.read(lost, judge)
		to.send(report)
		return report == PodsChanged, err
	})
}

// read judges what is there, or the first part of it.
func (s *subscription) read(lost func(), judge func(mdl.Message) Report) (Report, error) {
	report := nothing
	for range mostDatagrams {
		messages, err := s.receive()
		switch {
		case errors.Is(err, unix.EAGAIN):
			return report, nil
		case errors.Is(err, unix.ENOBUFS):
			lost()
			report = Changed
		case err != nil:
			return report, err
		}
		for _, m := range messages {
			report = max(report, judge(m))
		}
	}
	return report, nil
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
