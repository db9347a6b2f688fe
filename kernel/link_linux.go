package kernel

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// pathMTUDiscovery is what `ip link add` sets where an operator says nothing:
// a printed plan and an applied one make the same device.
const pathMTUDiscovery = 1

// tunnelLink reads a tunnel device. One with a property that Ropeway never
// gives has a kind that says so; it thus differs from every desired link.
func tunnelLink(l netlink.Link) Link {
	a := l.Attrs()
	link := Link{Name: a.Name, Kind: LinkKind(l.Type()), MTU: a.MTU, Up: a.Flags&net.FlagUp != 0}
	odd := ""
	switch t := l.(type) {
	case *netlink.Vxlan:
		link.Local, link.VNI, link.Port = addrOf(t.SrcAddr), uint32(t.VxlanId), uint16(t.Port)
		copy(link.MAC[:], a.HardwareAddr)
		switch {
		case t.Learning:
			odd = "learning"
		case t.VtepDevIndex != 0:
			odd = "bound to a device"
		case t.Group != nil:
			odd = "with a group"
		case t.FlowBased || t.GBP || t.Proxy:
			odd = "with extensions"
		}
	case *netlink.Iptun:
		link.Local = addrOf(t.Local)
		odd = oddTunnel(t.Remote, t.Link, t.FlowBased)
	case *netlink.Sittun:
		link.Local, link.Remote = addrOf(t.Local), addrOf(t.Remote)
		odd = oddTunnel(nil, t.Link, false)
	case *netlink.Ip6tnl:
		link.Local = addrOf(t.Local)
		odd = oddTunnel(t.Remote, t.Link, false)
		if !t.FlowBased {
			odd = "without external mode"
		}
	}
	if odd != "" {
		link.Kind += LinkKind(" " + odd)
	}
	return link
}

func oddTunnel(remote net.IP, device uint32, metadata bool) string {
	switch {
	case addrOf(remote).IsValid():
		return "with a remote end"
	case device != 0:
		return "bound to a device"
	case metadata:
		return "with extensions"
	}
	return ""
}

// addrOf converts an address; unspecified ones become the zero Addr.
func addrOf(ip net.IP) netip.Addr {
	a, ok := netip.AddrFromSlice(ip)
	if !ok || a.IsUnspecified() {
		return netip.Addr{}
	}
	return a
}

// deviceFor is the library's form of a link.
func deviceFor(l Link) (netlink.Link, error) {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = l.Name
	local := net.IP(l.Local.AsSlice())
	switch l.Kind {
	case VXLAN:
		// The MAC is given at creation: a device that comes with one is left
		// alone by udev's MACAddressPolicy.
		attrs.HardwareAddr = l.MAC[:]
		return &netlink.Vxlan{LinkAttrs: attrs, VxlanId: int(l.VNI), SrcAddr: local, Port: int(l.Port)}, nil
	case IPIP:
		return &netlink.Iptun{LinkAttrs: attrs, Local: local, Ttl: outerTTL, PMtuDisc: pathMTUDiscovery, Proto: unix.IPPROTO_IPIP}, nil
	case SIT:
		return &netlink.Sittun{LinkAttrs: attrs, Local: local, Remote: l.Remote.AsSlice(), Ttl: outerTTL, PMtuDisc: pathMTUDiscovery, Proto: unix.IPPROTO_IPV6}, nil
	case IP6Tnl:
		return &netlink.Ip6tnl{LinkAttrs: attrs, FlowBased: true}, nil
	}
	return nil, fmt.Errorf("kind %q is not known", l.Kind)
}

func (a *application) addLink(l Link) error {
	delete(a.indexes, l.Name)
	device, err := deviceFor(l)
	if err != nil {
		return err
	}
	if err = a.conn.handle.LinkAdd(device); err != nil {
		return a.sameLink(l, err)
	}
	// IPv6 may be off altogether; then there is nothing to switch off.
	err = a.conn.handle.LinkSetIP6AddrGenMode(device, nl.IN6_ADDR_GEN_MODE_NONE)
	if err != nil && !errors.Is(err, unix.EAFNOSUPPORT) && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.EOPNOTSUPP) {
		return fmt.Errorf("set addrgenmode none: %w", err)
	}
	set := LinkSet{Name: l.Name, MTU: l.MTU, TxChecksum: l.TxChecksum}
	if l.Up {
		set.Admin = AdminUp
	}
	return a.setLink(set)
}

// sameLink forgives that a link exists if it is the one that is wanted.
func (a *application) sameLink(l Link, err error) error {
	if !errors.Is(err, unix.EEXIST) {
		return err
	}
	have, lookup := a.conn.handle.LinkByName(l.Name)
	if lookup == nil && tunnelLink(have) == l.over(Link{}) {
		return a.setLink(LinkSet{Name: l.Name, TxChecksum: l.TxChecksum})
	}
	return err
}

func (a *application) setLink(op LinkSet) error {
	index, err := a.index(op.Name)
	if err != nil {
		return err
	}
	link := byIndex(index)
	if op.MTU != 0 {
		if err = a.conn.handle.LinkSetMTU(link, op.MTU); err != nil {
			return fmt.Errorf("set MTU %d: %w", op.MTU, err)
		}
		if err = a.checkMTU(index, op.MTU); err != nil {
			return err
		}
	}
	if op.TxChecksum != "" {
		if err = a.setTxChecksum(op.Name, op.TxChecksum); err != nil {
			return err
		}
	}
	switch op.Admin {
	case AdminUp:
		err = a.conn.handle.LinkSetUp(link)
	case AdminDown:
		err = a.conn.handle.LinkSetDown(link)
	}
	if err != nil {
		return fmt.Errorf("set it %s: %w", op.Admin, err)
	}
	return nil
}

// checkMTU makes sure that the kernel took the MTU: a smaller one would make
// every reconciliation find the same difference.
func (a *application) checkMTU(index, mtu int) error {
	l, err := a.conn.handle.LinkByIndex(index)
	if err != nil {
		return err
	}
	if have := l.Attrs().MTU; have != mtu {
		return fmt.Errorf("asked for MTU %d, the kernel gave %d", mtu, have)
	}
	return nil
}

func (a *application) deleteLink(name string) error {
	if !isOwnLink(name) {
		return errors.New("the link is somebody else's")
	}
	delete(a.indexes, name)
	index, err := a.index(name)
	if err != nil {
		return err
	}
	delete(a.indexes, name)
	return a.conn.handle.LinkDel(byIndex(index))
}
