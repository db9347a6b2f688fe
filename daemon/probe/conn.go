package probe

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// Family is that of an address.
type Family string

// The two families.
const (
	IPv4 Family = "IPv4"
	IPv6 Family = "IPv6"
)

func familyOf(a netip.Addr) Family {
	if a.Is6() && !a.Is4In6() {
		return IPv6
	}
	return IPv4
}

// Token stands in a request and comes back in the reply. It cannot be guessed,
// so that nobody can answer for a peer without seeing the request.
type Token [16]byte

func newToken() (t Token) {
	_, _ = rand.Read(t[:]) // never fails
	return t
}

// Reply is an echo reply.
type Reply struct {
	From  netip.Addr
	Token Token
}

// Conn sends echo requests of one family and receives the replies. Send and
// Receive may be called at the same time.
type Conn interface {
	Send(to netip.Addr, token Token) error
	// Receive returns the next reply, and an error after Close or when the
	// connection is of no use any more.
	Receive() (Reply, error)
	Close() error
}

// Open returns a connection that needs no privilege where the sysctl
// net.ipv4.ping_group_range lets it, else one that needs CAP_NET_RAW.
func Open(family Family) (Conn, error) {
	unprivileged, raw, local := "udp4", "ip4:icmp", "0.0.0.0"
	if family == IPv6 {
		unprivileged, raw, local = "udp6", "ip6:ipv6-icmp", "::"
	}
	c, err := icmp.ListenPacket(unprivileged, local)
	if err == nil {
		return &conn{c: c, family: family}, nil
	}
	c, rawErr := icmp.ListenPacket(raw, local)
	switch {
	case errors.Is(rawErr, fs.ErrPermission):
		return nil, fmt.Errorf("echo requests cannot be sent: %w, nor %w; grant CAP_NET_RAW, put the daemon's group into the sysctl net.ipv4.ping_group_range, or set probe: false", err, rawErr)
	case rawErr != nil:
		return nil, fmt.Errorf("echo requests cannot be sent: %w; repair that or set probe: false", rawErr)
	}
	if err := onlyReplies(c, family); err != nil {
		return nil, errors.Join(fmt.Errorf("echo requests cannot be sent: %w", err), c.Close())
	}
	return &conn{c: c, family: family, raw: true}, nil
}

// onlyReplies keeps all other ICMP that comes to this host from waking us.
func onlyReplies(c *icmp.PacketConn, family Family) error {
	if family == IPv6 {
		var f ipv6.ICMPFilter
		f.SetAll(true)
		f.Accept(ipv6.ICMPTypeEchoReply)
		return c.IPv6PacketConn().SetICMPFilter(&f)
	}
	var f ipv4.ICMPFilter
	f.SetAll(true)
	f.Accept(ipv4.ICMPTypeEchoReply)
	return c.IPv4PacketConn().SetICMPFilter(&f)
}

// conn is a [Conn] of the kernel.
type conn struct {
	c      *icmp.PacketConn
	family Family
	raw    bool
	seq    int
}

func (c *conn) Send(to netip.Addr, token Token) error {
	c.seq = (c.seq + 1) & 0xffff
	m := icmp.Message{Type: ipv4.ICMPTypeEcho, Body: &icmp.Echo{ID: int(token[0])<<8 | int(token[1]), Seq: c.seq, Data: token[:]}}
	if c.family == IPv6 {
		m.Type = ipv6.ICMPTypeEchoRequest
	}
	b, err := m.Marshal(nil) // the kernel computes the checksum of ICMPv6
	if err != nil {
		return err
	}
	var dst net.Addr = net.UDPAddrFromAddrPort(netip.AddrPortFrom(to, 0))
	if c.raw {
		dst = &net.IPAddr{IP: to.AsSlice(), Zone: to.Zone()}
	}
	_, err = c.c.WriteTo(b, dst)
	return err
}

func (c *conn) Receive() (Reply, error) {
	// An error may be one that a packet of ours has caused on its way; many
	// of them without a packet in between are not.
	const patience = 100
	buf := make([]byte, 512) // ours are 24 bytes
	for errs := 0; ; {
		n, from, err := c.c.ReadFrom(buf)
		if err != nil {
			if errs++; errs > patience || errors.Is(err, net.ErrClosed) {
				return Reply{}, err
			}
			continue
		}
		errs = 0
		if r, ok := parseReply(buf[:n], c.family); ok {
			r.From = address(from)
			return r, nil
		}
	}
}

func (c *conn) Close() error { return c.c.Close() }

// parseReply reads an ICMP message; ok says that it is a reply with a token.
func parseReply(b []byte, family Family) (r Reply, ok bool) {
	protocol := 1
	if family == IPv6 {
		protocol = 58
	}
	m, err := icmp.ParseMessage(protocol, b)
	if err != nil || m.Type != ipv4.ICMPTypeEchoReply && m.Type != ipv6.ICMPTypeEchoReply {
		return Reply{}, false
	}
	echo, isEcho := m.Body.(*icmp.Echo)
	if !isEcho || len(echo.Data) != len(r.Token) {
		return Reply{}, false
	}
	return Reply{Token: Token(echo.Data)}, true
}

func address(a net.Addr) netip.Addr {
	var out netip.Addr
	switch a := a.(type) {
	case *net.UDPAddr:
		out = a.AddrPort().Addr()
	case *net.IPAddr:
		out, _ = netip.AddrFromSlice(a.IP)
	}
	return out.Unmap().WithZone("")
}
