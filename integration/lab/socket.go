package lab

import (
	"context"
	"net"
	"net/netip"
	"syscall"
)

// Dial connects from inside the namespace; address is a literal IP with port.
func (ns *Namespace) Dial(ctx context.Context, network, address string) (conn net.Conn, err error) {
	err = ns.Do(func() (dialErr error) {
		conn, dialErr = new(net.Dialer).DialContext(ctx, network, address)
		return dialErr
	})
	return conn, err
}

// Listen listens for streams inside the namespace.
func (ns *Namespace) Listen(ctx context.Context, network, address string) (listener net.Listener, err error) {
	err = ns.Do(func() (listenErr error) {
		var config net.ListenConfig
		config.SetMultipathTCP(false)
		listener, listenErr = config.Listen(ctx, network, address)
		return listenErr
	})
	return listener, err
}

// ListenPacket opens a datagram socket inside the namespace.
func (ns *Namespace) ListenPacket(ctx context.Context, network, address string) (conn net.PacketConn, err error) {
	err = ns.Do(func() (listenErr error) {
		conn, listenErr = new(net.ListenConfig).ListenPacket(ctx, network, address)
		return listenErr
	})
	return conn, err
}

// dialUDP connects a UDP socket; local may be zero. setup is called with its
// descriptor before it is bound.
func (ns *Namespace) dialUDP(ctx context.Context, local netip.Addr, remote netip.AddrPort, setup func(fd int) error) (conn *net.UDPConn, err error) {
	dialer := net.Dialer{Control: onDescriptor(setup)}
	if local.IsValid() {
		dialer.LocalAddr = net.UDPAddrFromAddrPort(netip.AddrPortFrom(local, 0))
	}
	err = ns.Do(func() error {
		c, dialErr := dialer.DialContext(ctx, "udp", remote.String())
		if dialErr != nil {
			return dialErr
		}
		conn = c.(*net.UDPConn)
		return nil
	})
	return conn, err
}

// listenUDP opens a UDP socket on an address; port 0 takes a free one.
func (ns *Namespace) listenUDP(ctx context.Context, address netip.AddrPort, setup func(fd int) error) (conn *net.UDPConn, err error) {
	config := net.ListenConfig{Control: onDescriptor(setup)}
	err = ns.Do(func() error {
		c, listenErr := config.ListenPacket(ctx, "udp", address.String())
		if listenErr != nil {
			return listenErr
		}
		conn = c.(*net.UDPConn)
		return nil
	})
	return conn, err
}

func onDescriptor(setup func(fd int) error) func(string, string, syscall.RawConn) error {
	return func(_, _ string, raw syscall.RawConn) error {
		var err error
		if controlErr := raw.Control(func(fd uintptr) { err = setup(int(fd)) }); controlErr != nil {
			return controlErr
		}
		return err
	}
}
