package lab

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// EchoServer sends every UDP datagram back, never fragmented.
type EchoServer struct {
	Addr netip.AddrPort
	conn *net.UDPConn
	done chan struct{}
}

// ServeEcho starts a server in the namespace; port 0 takes a free one.
func (ns *Namespace) ServeEcho(ctx context.Context, address netip.AddrPort) (*EchoServer, error) {
	conn, err := ns.listenUDP(ctx, address, dontFragment(address.Addr()))
	if err != nil {
		return nil, err
	}
	s := &EchoServer{Addr: netip.MustParseAddrPort(conn.LocalAddr().String()), conn: conn, done: make(chan struct{})}
	go func() {
		defer close(s.done)
		buffer := make([]byte, 65536)
		for {
			n, from, err := conn.ReadFromUDPAddrPort(buffer)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err == nil {
				_, _ = conn.WriteToUDPAddrPort(buffer[:n], from)
			}
		}
	}()
	return s, nil
}

// Close ends the server.
func (s *EchoServer) Close() error {
	err := s.conn.Close()
	<-s.done
	return err
}

// Echo is an answered datagram.
type Echo struct {
	RoundTrip time.Duration
	PathMTU   int // bytes, as the sender's kernel knows it for the destination
}

// TooBigError says that a packet must not be fragmented and is too long.
type TooBigError struct {
	MTU  int        // bytes that fit
	From netip.Addr // who said so by ICMP; zero: the sender's own interface
}

func (e *TooBigError) Error() string {
	if !e.From.IsValid() {
		return fmt.Sprintf("packet too big for the own interface, which takes %d bytes", e.MTU)
	}
	return fmt.Sprintf("packet too big, says %s: %d bytes fit", e.From, e.MTU)
}

// headers is the length of IP and UDP headers.
func headers(a netip.Addr) int {
	if a.Is4() {
		return 20 + 8
	}
	return 40 + 8
}

// Probe sends one UDP packet from the namespace to an [EchoServer] and waits for
// it to come back, for at most five seconds or what ctx says. The whole IP packet
// has size bytes (0: the smallest) and must not be fragmented; the error of one
// that is too long is a [TooBigError]. Other ICMP errors come as the kernel
// names them, for instance EHOSTUNREACH.
func (ns *Namespace) Probe(ctx context.Context, server netip.AddrPort, size int) (Echo, error) {
	const nonce = 8
	smallest := headers(server.Addr()) + nonce
	if size == 0 {
		size = smallest
	}
	if size < smallest {
		return Echo{}, fmt.Errorf("a probe of %d bytes is too short; the smallest is %d", size, smallest)
	}
	conn, err := ns.dialUDP(ctx, netip.Addr{}, server, dontFragment(server.Addr()))
	if err != nil {
		return Echo{}, err
	}
	defer func() { _ = conn.Close() }()
	deadline, ok := ctx.Deadline()
	if limit := time.Now().Add(5 * time.Second); !ok || deadline.After(limit) {
		deadline = limit
	}
	if err = conn.SetDeadline(deadline); err != nil {
		return Echo{}, err
	}
	payload := make([]byte, size-headers(server.Addr()))
	_, _ = rand.Read(payload[:nonce])

	start := time.Now()
	if _, err = conn.Write(payload); err != nil {
		return Echo{}, explain(conn, err)
	}
	answer := make([]byte, len(payload)+1)
	n, err := conn.Read(answer)
	if err != nil {
		return Echo{}, explain(conn, err)
	}
	if !bytes.Equal(answer[:n], payload) {
		return Echo{}, fmt.Errorf("%s sent back %d other bytes", server, n)
	}
	echo := Echo{RoundTrip: time.Since(start)}
	echo.PathMTU, err = pathMTU(conn)
	return echo, err
}

// RoundTrip is the median of a number of probes of the smallest size.
func (ns *Namespace) RoundTrip(ctx context.Context, server netip.AddrPort, probes int) (time.Duration, error) {
	trips := make([]time.Duration, 0, probes)
	for range probes {
		echo, err := ns.Probe(ctx, server, 0)
		if err != nil {
			return 0, err
		}
		trips = append(trips, echo.RoundTrip)
	}
	return median(trips), nil
}

// dontFragment sets the socket so that packets are never fragmented and ICMP
// errors are kept with their details.
func dontFragment(a netip.Addr) func(fd int) error {
	if a.Is4() {
		return func(fd int) error {
			return errors.Join(
				unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DO),
				unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_RECVERR, 1))
		}
	}
	return func(fd int) error {
		return errors.Join(
			unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_DO),
			unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_RECVERR, 1))
	}
}

func remoteIs4(conn *net.UDPConn) bool {
	return conn.RemoteAddr().(*net.UDPAddr).AddrPort().Addr().Unmap().Is4()
}

func pathMTU(conn *net.UDPConn) (mtu int, err error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, err
	}
	level, option := unix.IPPROTO_IP, unix.IP_MTU
	if !remoteIs4(conn) {
		level, option = unix.IPPROTO_IPV6, unix.IPV6_MTU
	}
	controlErr := raw.Control(func(fd uintptr) { mtu, err = unix.GetsockoptInt(int(fd), level, option) })
	return mtu, errors.Join(controlErr, err)
}

// explain makes a TooBigError of EMSGSIZE with what the socket's error queue
// says, see ip(7) under IP_RECVERR.
func explain(conn *net.UDPConn, err error) error {
	if !errors.Is(err, unix.EMSGSIZE) {
		return err
	}
	raw, rawErr := conn.SyscallConn()
	if rawErr != nil {
		return err
	}
	oob := make([]byte, 512)
	var n int
	var recvErr error
	_ = raw.Control(func(fd uintptr) {
		_, n, _, _, recvErr = unix.Recvmsg(int(fd), make([]byte, 2048), oob, unix.MSG_ERRQUEUE|unix.MSG_DONTWAIT)
	})
	messages, parseErr := unix.ParseSocketControlMessage(oob[:n])
	if recvErr != nil || parseErr != nil {
		return err
	}
	for _, m := range messages {
		if tooBig := parseTooBig(m.Data); tooBig != nil {
			return tooBig
		}
	}
	return err
}

// parseTooBig reads a struct sock_extended_err and the address that follows it.
func parseTooBig(b []byte) *TooBigError {
	const length, originLocal = 16, 1
	if len(b) < length || unix.Errno(binary.NativeEndian.Uint32(b)) != unix.EMSGSIZE {
		return nil
	}
	e := &TooBigError{MTU: int(binary.NativeEndian.Uint32(b[8:]))}
	offender := b[length:]
	switch {
	case b[4] == originLocal || len(offender) < 2:
	case binary.NativeEndian.Uint16(offender) == unix.AF_INET && len(offender) >= 8:
		e.From = netip.AddrFrom4([4]byte(offender[4:8]))
	case binary.NativeEndian.Uint16(offender) == unix.AF_INET6 && len(offender) >= 24:
		e.From = netip.AddrFrom16([16]byte(offender[8:24]))
	}
	return e
}
