package kernel

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// ServiceLink is the device on which kube-proxy in IPVS mode keeps the addresses
// of all services, so that they are local to the node. They are not the node's.
const ServiceLink = "kube-ipvs0"

// NodeAddresses returns the addresses of the caller's namespace, those of
// services left out.
func NodeAddresses(ctx context.Context) (map[netip.Addr]bool, error) {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open a netlink socket: %w", err)
	}
	defer h.Close()
	services := -1
	if link, missing := h.LinkByName(ServiceLink); missing == nil {
		services = link.Attrs().Index
	}
	listed, err := dump(ctx, "addresses", func() ([]netlink.Addr, error) { return h.AddrList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		return nil, err
	}
	addresses := map[netip.Addr]bool{}
	for _, a := range listed {
		if p := prefixOf(a.IPNet); p.IsValid() && a.LinkIndex != services {
			addresses[p.Addr()] = true
		}
	}
	return addresses, nil
}

// PodLinkAddresses returns the addresses of the pod behind a host end, by the
// permanent neighbours there; none when the link is gone.
func PodLinkAddresses(hostName string) ([]netip.Addr, error) {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open a netlink socket: %w", err)
	}
	defer h.Close()
	link, err := h.LinkByName(hostName)
	if err != nil {
		return nil, nil
	}
	var neighbours []netlink.Neigh
	err = readDump(func() error {
		neighbours, err = h.NeighList(link.Attrs().Index, netlink.FAMILY_ALL)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("neighbours on %s: %w", hostName, err)
	}
	var addresses []netip.Addr
	for _, n := range neighbours {
		if a := fromIP(n.IP); a.IsValid() && n.State&netlink.NUD_PERMANENT != 0 && !a.IsMulticast() {
			addresses = append(addresses, a)
		}
	}
	return addresses, nil
}
