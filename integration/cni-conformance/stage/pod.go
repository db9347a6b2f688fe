package stage

import (
	"errors"
	"fmt"
	"net/netip"
	"runtime"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// Link is what the kernel says about an interface in a container.
type Link struct {
	MAC       string
	MTU       int
	Up        bool
	Addresses []netip.Prefix
}

// Link looks for the attachment's interface in its container; nil when there
// is none.
func (s *Stage) Link(a *Attachment) (*Link, error) {
	s.Observe("ip -n %s address show dev %s", a.Namespace(), a.IfName)
	var found *Link
	err := inside(a.Netns, func(h *netlink.Handle) error {
		l, err := h.LinkByName(a.IfName)
		var missing netlink.LinkNotFoundError
		if errors.As(err, &missing) {
			return nil
		}
		if err != nil {
			return err
		}
		addresses, err := h.AddrList(l, netlink.FAMILY_ALL)
		if err != nil {
			return err
		}
		attrs := l.Attrs()
		found = &Link{MAC: attrs.HardwareAddr.String(), MTU: attrs.MTU, Up: attrs.RawFlags&1 != 0}
		for _, addr := range addresses {
			ip, _ := netip.AddrFromSlice(addr.IP)
			ones, _ := addr.Mask.Size()
			found.Addresses = append(found.Addresses, netip.PrefixFrom(ip.Unmap(), ones))
		}
		return nil
	})
	return found, err
}

// Routes lists the destinations of the container's routes in all tables.
func (s *Stage) Routes(a *Attachment) (map[netip.Prefix]bool, error) {
	s.Observe("ip -n %s route show table all", a.Namespace())
	found := map[netip.Prefix]bool{}
	err := inside(a.Netns, func(h *netlink.Handle) error {
		all, err := h.RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{}, netlink.RT_FILTER_TABLE)
		for _, r := range all {
			if r.Dst == nil {
				continue
			}
			ip, _ := netip.AddrFromSlice(r.Dst.IP)
			ones, size := r.Dst.Mask.Size()
			if size == 32 {
				ip = ip.Unmap()
			}
			found[netip.PrefixFrom(ip, ones)] = true
		}
		return err
	})
	return found, err
}

// inside reads the kernel's state of a namespace.
func inside(path string, read func(*netlink.Handle) error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	target, err := netns.GetFromPath(path)
	if err != nil {
		return fmt.Errorf("namespace %s: %w", path, err)
	}
	defer target.Close()
	// The handle's sockets are made in the namespace; the thread comes back.
	h, err := netlink.NewHandleAt(target)
	if err != nil {
		return fmt.Errorf("namespace %s: %w", path, err)
	}
	defer h.Close()
	return read(h)
}

// HostLink reports whether the host has a link of this name, and its MAC.
func HostLink(name string) (mac string, mtu int, there bool) {
	l, err := netlink.LinkByName(name)
	if err != nil {
		return "", 0, false
	}
	return l.Attrs().HardwareAddr.String(), l.Attrs().MTU, true
}

// HostLinks lists the names of the host's links.
func HostLinks() (map[string]bool, error) {
	all, err := netlink.LinkList()
	names := map[string]bool{}
	for _, l := range all {
		names[l.Attrs().Name] = true
	}
	return names, err
}
