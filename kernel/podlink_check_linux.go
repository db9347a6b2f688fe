package kernel

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Check compares both ends of a pod link with what AttachSteps made of l. The
// error names each object that differs. Routes of the pod may be in any table
// and of any metric, since a later plugin of the chain may have moved them.
func (n *PodNetns) Check(l PodLink) error {
	if err := n.openReaders(); err != nil {
		return err
	}
	pod, err := n.podReader.LinkByName(l.Name)
	if err != nil {
		return fmt.Errorf("interface %s in %s: %w", l.Name, n.path, err)
	}
	host, err := n.hostReader.LinkByName(l.HostName)
	if err != nil {
		return fmt.Errorf("host link %s: %w", l.HostName, err)
	}
	c := &linkCheck{PodLink: l, netns: n, pod: pod.Attrs(), host: host.Attrs()}
	c.checkEnds()
	c.checkSysctls()
	c.checkPodAddresses()
	c.checkGatewayAddresses()
	c.checkNeighbours()
	c.checkPodRoutes()
	c.checkHostRoutes()
	return errors.Join(c.differences...)
}

// minMTU is the smallest that IPv4 allows a link, RFC 791.
const minMTU = 68

// linkCheck collects what differs.
type linkCheck struct {
	PodLink
	netns       *PodNetns
	pod, host   *netlink.LinkAttrs
	differences []error
}

func (c *linkCheck) differ(format string, args ...any) {
	c.differences = append(c.differences, fmt.Errorf(format, args...))
}

func (c *linkCheck) onPod() string  { return c.Name + " in " + c.netns.path }
func (c *linkCheck) onHost() string { return "host link " + c.HostName }

func (c *linkCheck) checkEnds() {
	ends := []struct {
		name string
		link *netlink.LinkAttrs
		peer *netlink.LinkAttrs
		mac  MAC
		mtu  int // the least
	}{
		{"interface " + c.onPod(), c.pod, c.host, c.MAC, minMTU},
		{c.onHost(), c.host, c.pod, GatewayMAC(), c.MTU},
	}
	for _, end := range ends {
		if end.link.Flags&net.FlagUp == 0 {
			c.differ("%s is down", end.name)
		}
		if end.link.ParentIndex != end.peer.Index {
			c.differ("%s is not the other end of %s", end.name, end.peer.Name)
		}
		if !bytes.Equal(end.link.HardwareAddr, end.mac[:]) {
			c.differ("%s has MAC address %s, not %s", end.name, end.link.HardwareAddr, end.mac)
		}
		// The pod may send less than fits: plugin tuning makes it so, and does
		// not say that in its result.
		if end.link.MTU < end.mtu || end.link.MTU > c.MTU {
			c.differ("%s has MTU %d, not %d", end.name, end.link.MTU, c.MTU)
		}
	}
}

func (c *linkCheck) checkSysctls() {
	want := []struct{ path, value string }{
		{"net/ipv4/conf/" + c.HostName + "/rp_filter", "1"},
		{"net/ipv4/conf/" + c.HostName + "/forwarding", "1"},
	}
	if c.Loopback {
		want = append(want, struct{ path, value string }{routeLocalnet(c.HostName), "1"})
	}
	if c.HasFamilyOf(GatewayIPv6()) {
		want = append(want, struct{ path, value string }{"net/ipv6/conf/" + c.HostName + "/forwarding", "1"})
	}
	for _, w := range want {
		b, err := os.ReadFile("/proc/sys/" + w.path)
		if err != nil {
			c.differ("sysctl: %w", err)
		} else if got := strings.TrimSpace(string(b)); got != w.value {
			c.differ("sysctl %s is %s, not %s", w.path, got, w.value)
		}
	}
}

func (c *linkCheck) checkPodAddresses() {
	c.checkAddresses(c.netns.podReader, c.pod, c.onPod(), c.Addresses)
}

func (c *linkCheck) checkGatewayAddresses() {
	c.checkAddresses(c.netns.hostReader, c.host, c.onHost(), c.gateways())
}

func (c *linkCheck) checkAddresses(h *netlink.Handle, link *netlink.LinkAttrs, on string, want []netip.Addr) {
	have := map[netip.Addr]bool{}
	err := readDump(func() error {
		addrs, err := h.AddrList(byIndex(link.Index), netlink.FAMILY_ALL)
		for _, a := range addrs {
			have[fromIP(a.IP)] = true
		}
		return err
	})
	if err != nil {
		c.differ("addresses on %s: %w", on, err)
		return
	}
	for _, ip := range want {
		if !have[ip] {
			c.differ("address %s is not on %s", ip, on)
		}
	}
}

func (c *linkCheck) checkNeighbours() {
	pods := map[netip.Addr]MAC{}
	for _, ip := range c.Addresses {
		pods[ip] = c.MAC
	}
	gateways := map[netip.Addr]MAC{}
	for _, gw := range c.gateways() {
		gateways[gw] = GatewayMAC()
	}
	c.checkNeighbourTable(c.netns.hostReader, c.host, c.onHost(), pods)
	if c.PodAsks {
		c.checkGatewaysAnswer()
		return
	}
	c.checkNeighbourTable(c.netns.podReader, c.pod, c.onPod(), gateways)
}

// checkGatewaysAnswer makes sure that the pod, asking, gets the right answer:
// what it has learnt may be nothing, but nothing else.
func (c *linkCheck) checkGatewaysAnswer() {
	have, err := neighboursOf(c.netns.podReader, c.pod)
	if err != nil {
		c.differ("neighbours on %s: %w", c.onPod(), err)
		return
	}
	mac := GatewayMAC()
	for _, gw := range c.gateways() {
		if n, ok := have[gw]; ok && len(n.HardwareAddr) > 0 && !bytes.Equal(n.HardwareAddr, mac[:]) {
			c.differ("neighbour %s on %s has MAC address %s, not %s", gw, c.onPod(), n.HardwareAddr, mac)
		}
	}
}

func neighboursOf(h *netlink.Handle, link *netlink.LinkAttrs) (map[netip.Addr]netlink.Neigh, error) {
	have := map[netip.Addr]netlink.Neigh{}
	err := readDump(func() error {
		neighbours, err := h.NeighList(link.Index, netlink.FAMILY_ALL)
		for _, n := range neighbours {
			have[fromIP(n.IP)] = n
		}
		return err
	})
	return have, err
}

func (c *linkCheck) checkNeighbourTable(h *netlink.Handle, link *netlink.LinkAttrs, on string, want map[netip.Addr]MAC) {
	have, err := neighboursOf(h, link)
	if err != nil {
		c.differ("neighbours on %s: %w", on, err)
		return
	}
	for ip, mac := range want {
		n, ok := have[ip]
		switch {
		case !ok || n.State&netlink.NUD_PERMANENT == 0:
			c.differ("there is no permanent neighbour %s on %s", ip, on)
		case !bytes.Equal(n.HardwareAddr, mac[:]):
			c.differ("neighbour %s on %s has MAC address %s, not %s", ip, on, n.HardwareAddr, mac)
		}
	}
}

func (c *linkCheck) checkPodRoutes() {
	have := map[netip.Prefix]bool{}
	err := readDump(func() error {
		filter := &netlink.Route{LinkIndex: c.pod.Index, Table: unix.RT_TABLE_UNSPEC}
		routes, err := c.netns.podReader.RouteListFiltered(netlink.FAMILY_ALL, filter,
			netlink.RT_FILTER_OIF|netlink.RT_FILTER_TABLE)
		for _, r := range routes {
			if fromIP(r.Gw).IsValid() {
				have[routePrefix(r)] = true
			}
		}
		return err
	})
	if err != nil {
		c.differ("routes of %s: %w", c.onPod(), err)
		return
	}
	for _, dst := range c.Routes {
		if !have[dst.Masked()] {
			c.differ("there is no route to %s through a gateway on %s", dst, c.onPod())
		}
	}
}

// checkHostRoutes asks for the route that the kernel would take, which is one
// lookup for an address and no dump of a table that may be long.
func (c *linkCheck) checkHostRoutes() {
	for _, ip := range c.Addresses {
		routes, err := c.netns.hostReader.RouteGetWithOptions(ip.AsSlice(), &netlink.RouteGetOptions{FIBMatch: true})
		if err != nil {
			c.differ("there is no route to %s on %s: %w", ip, c.onHost(), err)
			continue
		}
		if len(routes) == 0 || routes[0].LinkIndex != c.host.Index || routePrefix(routes[0]).Bits() != ip.BitLen() {
			c.differ("there is no route to %s on %s", ip, c.onHost())
		}
	}
}

// readDump repeats a dump that the kernel says was interrupted; a busy
// namespace may interrupt several.
func readDump(dump func() error) error {
	const attempts = 10
	var err error
	for range attempts {
		if err = dump(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	return err
}

// routePrefix is a route's destination; the library's default route has none
// or a zero one.
func routePrefix(r netlink.Route) netip.Prefix {
	if r.Dst == nil {
		if fromIP(r.Gw).Is6() || r.Family == netlink.FAMILY_V6 {
			return netip.PrefixFrom(netip.IPv6Unspecified(), 0)
		}
		return netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	}
	bits, _ := r.Dst.Mask.Size()
	return netip.PrefixFrom(fromIP(r.Dst.IP), bits)
}

// fromIP reads the library's address; the zero Addr stands for none. Zero in
// the 16 byte form is ::, everything IPv4-mapped is IPv4.
func fromIP(ip net.IP) netip.Addr {
	a, ok := netip.AddrFromSlice(ip)
	if !ok {
		return netip.Addr{}
	}
	return a.Unmap()
}
