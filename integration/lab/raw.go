package lab

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// SendRaw sends a whole IP packet from the namespace, whatever its source
// address says, the way the namespace's routes lead.
func (ns *Namespace) SendRaw(_ context.Context, packet []byte) error {
	family, to := unix.AF_INET, unix.Sockaddr(nil)
	if packet[0]>>4 == 4 {
		to = &unix.SockaddrInet4{Addr: [4]byte(packet[16:20])}
	} else {
		family, to = unix.AF_INET6, &unix.SockaddrInet6{Addr: [16]byte(packet[24:40])}
	}
	return ns.Do(func() error {
		fd, err := unix.Socket(family, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
		if err != nil {
			return fmt.Errorf("raw socket in %s: %w", ns.name, err)
		}
		defer func() { _ = unix.Close(fd) }()
		if err := unix.Sendto(fd, packet, 0, to); err != nil {
			return fmt.Errorf("send raw packet from %s: %w", ns.name, err)
		}
		return nil
	})
}

// Inbox is a UDP socket that keeps what arrives and from whom.
type Inbox struct {
	Addr netip.AddrPort
	mail chan Letter
	stop func()
	once sync.Once
}

// Letter is one datagram.
type Letter struct {
	From    netip.AddrPort
	Payload string
}

// OpenInbox listens in the namespace; port 0 takes a free one.
func (ns *Namespace) OpenInbox(ctx context.Context, address netip.AddrPort) (*Inbox, error) {
	conn, err := ns.listenUDP(ctx, address, func(int) error { return nil })
	if err != nil {
		return nil, err
	}
	inbox := &Inbox{Addr: netip.MustParseAddrPort(conn.LocalAddr().String()), mail: make(chan Letter, 1024)}
	done := make(chan struct{})
	inbox.stop = func() {
		_ = conn.Close()
		<-done
	}
	go func() {
		defer close(done)
		buffer := make([]byte, 65536)
		for {
			n, from, err := conn.ReadFromUDPAddrPort(buffer)
			if err != nil {
				return
			}
			select {
			case inbox.mail <- Letter{From: netip.AddrPortFrom(from.Addr().Unmap(), from.Port()), Payload: string(buffer[:n])}:
			default: // nobody reads; as a full socket would drop it
			}
		}
	}()
	return inbox, nil
}

// Wait returns the next datagram; ok is false when none comes in time.
func (i *Inbox) Wait(timeout time.Duration) (letter Letter, ok bool) {
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case letter = <-i.mail:
		return letter, true
	case <-timer.C:
		return Letter{}, false
	}
}

// Close closes the socket.
func (i *Inbox) Close() { i.once.Do(i.stop) }

// SendUDP sends one datagram from the namespace with a source that the kernel
// chooses, or from the given address.
func (ns *Namespace) SendUDP(ctx context.Context, from netip.Addr, to netip.AddrPort, payload string) error {
	conn, err := ns.dialUDP(ctx, from, to, func(int) error { return nil })
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	_, err = conn.Write([]byte(payload))
	return err
}
