package lab

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// AssociateSCTP makes an association from one namespace to an address and
// expects that server, in another, has it. On a kernel without SCTP sockets it
// sends the packet that begins an association, and expects it at the server.
func AssociateSCTP(ctx context.Context, from *Namespace, to netip.AddrPort, pod *Namespace, server netip.AddrPort) error {
	listener, err := sctpSocket(pod, server)
	if errors.Is(err, unix.EPROTONOSUPPORT) {
		return deliverInit(ctx, from, to, pod, server)
	}
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(listener) }()
	if err = setTimeouts(ctx, listener); err != nil {
		return err
	}
	accepted := make(chan error, 1)
	go func() { accepted <- greet(listener) }()
	err = hear(ctx, from, to)
	if err != nil {
		_ = unix.Shutdown(listener, unix.SHUT_RDWR)
	}
	return errors.Join(err, <-accepted)
}

const greeting = "sctp"

// greet takes one association and sends a word.
func greet(listener int) error {
	fd, err := uninterrupted(func() (int, error) {
		fd, _, err := unix.Accept4(listener, unix.SOCK_CLOEXEC)
		return fd, err
	})
	if err != nil {
		return fmt.Errorf("accept an association: %w", err)
	}
	_, err = unix.Write(fd, []byte(greeting))
	return errors.Join(err, unix.Close(fd))
}

// hear makes an association and waits for the word.
func hear(ctx context.Context, from *Namespace, to netip.AddrPort) error {
	fd, err := sctpSocket(from, netip.AddrPort{})
	if to.Addr().Is6() && err == nil {
		_ = unix.Close(fd)
		fd, err = sctpSocket(from, netip.AddrPortFrom(netip.IPv6Unspecified(), 0))
	}
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	if err = setTimeouts(ctx, fd); err != nil {
		return err
	}
	if err = connect(fd, to); err != nil {
		return fmt.Errorf("associate with %s: %w", to, err)
	}
	b := make([]byte, 16)
	n, err := uninterrupted(func() (int, error) { return unix.Read(fd, b) })
	if err == nil && string(b[:n]) != greeting {
		err = fmt.Errorf("heard %q", b[:n])
	}
	return err
}

// uninterrupted calls again what a signal has ended: the runtime sends them to
// its own threads, and a socket with a timeout does not go on by itself.
func uninterrupted(call func() (int, error)) (int, error) {
	for {
		n, err := call()
		if !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}

// connect waits on for an association whose beginning a signal interrupted.
func connect(fd int, to netip.AddrPort) error {
	err := unix.Connect(fd, sockaddr(to))
	if !errors.Is(err, unix.EINTR) {
		return err
	}
	const atMost = 10_000 // milliseconds
	n, err := uninterrupted(func() (int, error) {
		return unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}, atMost)
	})
	if err == nil && n == 0 {
		err = unix.ETIMEDOUT
	}
	if err != nil {
		return err
	}
	cause, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err == nil && cause != 0 {
		err = unix.Errno(cause)
	}
	return err
}

// sctpSocket makes a socket; with an address and a port it listens there.
func sctpSocket(ns *Namespace, listen netip.AddrPort) (fd int, err error) {
	family := unix.AF_INET
	if listen.Addr().Is6() {
		family = unix.AF_INET6
	}
	err = ns.Do(func() error {
		fd, err = unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, unix.IPPROTO_SCTP)
		if err != nil {
			return fmt.Errorf("sctp socket in %s: %w", ns.name, err)
		}
		if listen.Port() == 0 {
			return nil
		}
		err = errors.Join(unix.Bind(fd, sockaddr(listen)), unix.Listen(fd, 1))
		if err != nil {
			_ = unix.Close(fd)
		}
		return err
	})
	return fd, err
}

func sockaddr(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Addr: a.Addr().As4(), Port: int(a.Port())}
	}
	return &unix.SockaddrInet6{Addr: a.Addr().As16(), Port: int(a.Port())}
}

// setTimeouts bounds what blocks on the socket by the deadline of ctx.
func setTimeouts(ctx context.Context, fd int) error {
	deadline, ok := ctx.Deadline()
	if !ok {
		return errors.New("a deadline is needed")
	}
	left := unix.NsecToTimeval(max(time.Millisecond, time.Until(deadline)).Nanoseconds())
	return errors.Join(unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &left),
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &left))
}

// deliverInit sends an SCTP packet that begins an association and waits until
// one with its tag comes to the server's port.
func deliverInit(ctx context.Context, from *Namespace, to netip.AddrPort, pod *Namespace, server netip.AddrPort) error {
	family := unix.AF_INET
	if to.Addr().Is6() {
		family = unix.AF_INET6
	}
	raw := func(ns *Namespace) (fd int, err error) {
		err = ns.Do(func() error {
			fd, err = unix.Socket(family, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_SCTP)
			return err
		})
		if err != nil {
			return -1, fmt.Errorf("raw socket in %s: %w", ns.name, err)
		}
		return fd, setTimeouts(ctx, fd)
	}
	in, err := raw(pod)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(in) }()
	out, err := raw(from)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(out) }()
	tag := uint32(time.Now().UnixNano()) | 1
	if err := unix.Sendto(out, sctpInit(40000+uint16(tag%20000), to.Port(), tag), 0, sockaddr(netip.AddrPortFrom(to.Addr(), 0))); err != nil {
		return fmt.Errorf("send to %s: %w", to, err)
	}
	b := make([]byte, 2048)
	for {
		n, err := uninterrupted(func() (int, error) {
			n, _, err := unix.Recvfrom(in, b, 0)
			return n, err
		})
		if err != nil {
			return fmt.Errorf("wait for the packet at %s: %w", server, err)
		}
		packet := b[:n]
		if family == unix.AF_INET && n > 20 { // IPv4 raw sockets give the header, too
			packet = packet[int(packet[0]&0xf)*4:]
		}
		if len(packet) >= 20 && binary.BigEndian.Uint32(packet[16:]) == tag && binary.BigEndian.Uint16(packet[2:]) == server.Port() {
			return nil
		}
	}
}

// sctpInit is a packet with one INIT chunk, RFC 9260 section 3.3.2.
func sctpInit(src, dst uint16, tag uint32) []byte {
	p := binary.BigEndian.AppendUint16(nil, src)
	p = binary.BigEndian.AppendUint16(p, dst)
	p = append(p, 0, 0, 0, 0, 0, 0, 0, 0) // verification tag, checksum
	p = append(p, 1, 0, 0, 20)            // INIT, 20 bytes
	p = binary.BigEndian.AppendUint32(p, tag)
	p = binary.BigEndian.AppendUint32(p, 65536) // window, bytes
	p = append(p, 0, 1, 0, 1)                   // streams
	p = binary.BigEndian.AppendUint32(p, tag)   // first sequence number
	binary.LittleEndian.PutUint32(p[8:], crc32.Checksum(p, crc32.MakeTable(crc32.Castagnoli)))
	return p
}
