package lab

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// NodeLink is the name of a node's interface on the underlay, and of the
// world's.
const NodeLink = "eth0"

// buildRouter makes the two subnets' bridges and lets packets pass between them.
func (o Options) buildRouter(router *Namespace) error {
	err := router.Sysctl(
		"net/ipv4/ip_forward=1",
		"net/ipv4/conf/all/send_redirects=0",
		"net/ipv4/conf/default/send_redirects=0",
		"net/ipv6/conf/all/forwarding=1",
		"net/ipv6/conf/default/forwarding=1",
		"net/ipv6/conf/default/accept_dad=0",
	)
	if err != nil {
		return err
	}
	for _, number := range []int{1, 2} {
		segment := o.segment(number)
		err := router.Netlink(func(h *netlink.Handle) error {
			snooping := false // nobody on the bridge answers as querier
			attrs := netlink.NewLinkAttrs()
			attrs.Name, attrs.MTU = segment.bridge, o.MTU
			if err := h.LinkAdd(&netlink.Bridge{LinkAttrs: attrs, MulticastSnooping: &snooping}); err != nil {
				return fmt.Errorf("add bridge %s: %w", segment.bridge, err)
			}
			return setUp(h, segment.bridge, segment.gateway)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// connectNode gives the node its interface on a subnet.
func (o Options) connectNode(router, node *Namespace, name string, number int, addrs []netip.Prefix) error {
	segment := o.segment(number)
	err := router.Netlink(func(h *netlink.Handle) error {
		bridge, err := h.LinkByName(segment.bridge)
		if err != nil {
			return err
		}
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.MTU, attrs.MasterIndex = name, o.MTU, bridge.Attrs().Index
		return addVeth(h, attrs, node)
	})
	if err != nil {
		return err
	}
	return node.configureLink(addrs, addresses(segment.gateway))
}

// connectWorld puts the world behind the router. It needs the router's routes
// to the nodes only, as any host of an outside network.
func (o Options) connectWorld(router, world *Namespace) error {
	err := router.Netlink(func(h *netlink.Handle) error {
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.MTU = "world", o.MTU
		if err := addVeth(h, attrs, world); err != nil {
			return err
		}
		return setUp(h, "world", worldAddresses(1))
	})
	if err != nil {
		return err
	}
	return world.configureLink(worldAddresses(2), addresses(worldAddresses(1)))
}

// addVeth makes a link to another namespace, where its name is [NodeLink]; both
// ends are born in their namespaces and never seen elsewhere.
func addVeth(h *netlink.Handle, attrs netlink.LinkAttrs, peer *Namespace) error {
	veth := netlink.NewVeth(attrs)
	veth.PeerName = NodeLink
	veth.PeerNamespace = netlink.NsFd(peer.Fd())
	veth.PeerMTU = uint32(attrs.MTU)
	if err := h.LinkAdd(veth); err != nil {
		return fmt.Errorf("add link %s to %s: %w", attrs.Name, peer.name, err)
	}
	return setUp(h, attrs.Name, nil)
}

// configureLink gives [NodeLink] its addresses and default routes.
func (ns *Namespace) configureLink(addrs []netip.Prefix, gateways []netip.Addr) error {
	// The link-local address must be usable at once: neighbours of forwarded
	// packets are solicited from it.
	if err := ns.Sysctl("net/ipv6/conf/" + NodeLink + "/accept_dad=0"); err != nil {
		return err
	}
	return ns.Netlink(func(h *netlink.Handle) error {
		if err := setUp(h, NodeLink, addrs); err != nil {
			return err
		}
		link, err := h.LinkByName(NodeLink)
		if err != nil {
			return err
		}
		for _, gateway := range gateways {
			route := &netlink.Route{
				LinkIndex: link.Attrs().Index,
				Dst:       ipNet(defaultDestination(gateway)),
				Gw:        gateway.AsSlice(),
			}
			if err := h.RouteAdd(route); err != nil {
				return fmt.Errorf("add default route via %s: %w", gateway, err)
			}
		}
		return nil
	})
}

// setUp adds addresses to a link and brings it up.
func setUp(h *netlink.Handle, name string, addrs []netip.Prefix) error {
	link, err := h.LinkByName(name)
	if err != nil {
		return fmt.Errorf("link %s: %w", name, err)
	}
	if err := h.LinkSetUp(link); err != nil {
		return fmt.Errorf("bring %s up: %w", name, err)
	}
	for _, addr := range addrs {
		if err := h.AddrAdd(link, netlinkAddr(addr)); err != nil {
			return fmt.Errorf("add %s to %s: %w", addr, name, err)
		}
	}
	return nil
}

func netlinkAddr(p netip.Prefix) *netlink.Addr {
	addr := &netlink.Addr{IPNet: &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}}
	if p.Addr().Is6() {
		addr.Flags = unix.IFA_F_NODAD
	}
	return addr
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Masked().Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
