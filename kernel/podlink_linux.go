package kernel

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// attachment is a pod link in the making: what its steps learn from each
// other.
type attachment struct {
	*PodNetns
	PodLink
	hostIndex int
	podIndex  int
}

// AttachSteps are what makes the pod link, in order. The link's own step
// covers the undoing of all later ones: what hangs on a link goes with it.
// The pod's loopback stays up, since others may have come to use it.
func (n *PodNetns) AttachSteps(ctx context.Context, l PodLink) []Step {
	a := &attachment{PodNetns: n, PodLink: l}
	return []Step{
		{Name: "bring up the pod's loopback", Do: a.raiseLoopback},
		{Name: "create the pod link", Do: func() error { return a.createLink(ctx) }, Undo: a.deleteLink},
		{Name: "configure the host end", Do: a.configureHostEnd},
		{Name: "set the gateway's addresses on the host end", Do: a.setGatewayAddresses},
		{Name: "bring up the host end", Do: a.raiseHostEnd},
		{Name: "bring up the pod's interface", Do: a.raisePodEnd},
		{Name: "set the pod's addresses", Do: a.setPodAddresses},
		{Name: "set the pod's neighbours", Do: a.setPodNeighbours},
		{Name: "set the pod's routes", Do: a.setPodRoutes},
		{Name: "set the host's neighbours", Do: a.setHostNeighbours},
		{Name: "set the host's routes", Do: a.setHostRoutes},
		{Name: "wait for the link to carry packets", Do: a.awaitReady},
	}
}

func (a *attachment) raiseLoopback() error {
	lo, err := a.pod.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("lo in %s: %w", a.path, err)
	}
	if lo.Attrs().Flags&net.FlagUp != 0 {
		return nil
	}
	if err := a.pod.LinkSetUp(lo); err != nil {
		return fmt.Errorf("lo in %s: %w%s", a.path, err, remedyFor(err))
	}
	return nil
}

func (a *attachment) createLink(ctx context.Context) error {
	gatewayMAC := GatewayMAC()
	veth := netlink.NewVeth(netlink.NewLinkAttrs())
	veth.Name = a.HostName
	veth.HardwareAddr = gatewayMAC[:]
	veth.MTU = a.MTU
	veth.PeerName = a.Name
	veth.PeerMTU = uint32(a.MTU)
	veth.PeerHardwareAddr = a.MAC[:]
	veth.PeerTxQLen = -1
	veth.PeerNamespace = netlink.NsFd(a.fd)
	err := a.host.LinkAdd(veth)
	if errors.Is(err, unix.EEXIST) {
		// One that was detached just now may have the name still.
		if err = DeleteRetired(ctx); err == nil {
			err = a.host.LinkAdd(veth)
		}
	}
	if err != nil {
		if errors.Is(err, unix.EEXIST) {
			err = ErrLinkExists
		}
		return fmt.Errorf("veth %s with peer %s in %s: %w%s", a.HostName, a.Name, a.path, err, remedyFor(err))
	}
	a.hostIndex = veth.Index
	peer, err := a.pod.LinkByName(a.Name)
	if err != nil {
		// A step that fails undoes itself.
		return errors.Join(fmt.Errorf("%s in %s: %w", a.Name, a.path, err), a.deleteLink())
	}
	a.podIndex = peer.Attrs().Index
	return nil
}

func (a *attachment) deleteLink() error { return deleteLink(a.host, a.HostName) }

// configureHostEnd sets what must be so before the first packet: no
// link-local address of its own, strict reverse path, no redirects,
// forwarding whatever the node's default is.
func (a *attachment) configureHostEnd() error {
	err := setLinkConfig(a.hostIndex, addrGenNone, aliasOf(a.Network))
	if errors.Is(err, unix.EAFNOSUPPORT) && !a.HasFamilyOf(GatewayIPv6()) {
		err = setLinkConfig(a.hostIndex, addrGenDefault, aliasOf(a.Network)) // the node or so small an MTU has no IPv6
	}
	if err != nil {
		return fmt.Errorf("%s: %w%s", a.HostName, noIPv6(err), remedyFor(err))
	}
	if !a.HasFamilyOf(GatewayIPv6()) {
		return nil
	}
	dir := "/proc/sys/net/ipv6/conf/" + a.HostName + "/"
	if err = setSysctl(dir+"accept_ra", "0"); err != nil {
		return err
	}
	if err = setSysctl(dir+"forwarding", "1"); err != nil || !a.Standalone {
		return err
	}
	// For IPv6 the interface's own forwarding says only that it speaks as a
	// router; what forwards is the node's switch, or since Linux 6.17
	// force_forwarding, which leaves the rest of the node alone.
	err = setSysctl(dir+"force_forwarding", "1")
	if errors.Is(err, ErrNoIPv6) {
		err = setSysctl("/proc/sys/net/ipv6/conf/all/forwarding", "1")
	}
	return err
}

func (a *attachment) setGatewayAddresses() error {
	for _, gw := range a.gateways() {
		addr := &netlink.Addr{LinkIndex: a.hostIndex, IPNet: hostNet(gw), Scope: unix.RT_SCOPE_HOST}
		if gw.Is6() {
			addr.Mask = net.CIDRMask(64, 128)
			addr.Scope = unix.RT_SCOPE_LINK
			addr.Flags = unix.IFA_F_NODAD
		}
		if err := a.host.AddrReplace(nil, addr); err != nil {
			if err = noIPv6(err); gw.Is6() && errors.Is(err, ErrNoIPv6) {
				err = fmt.Errorf("%w on the node; set net.ipv6.conf.default.disable_ipv6=0 or use no IPv6 pod CIDR", err)
			}
			return fmt.Errorf("address %s on %s: %w", gw, a.HostName, err)
		}
	}
	return nil
}

func (a *attachment) raiseHostEnd() error {
	if err := a.host.LinkSetUp(byIndex(a.hostIndex)); err != nil {
		return fmt.Errorf("%s: %w", a.HostName, err)
	}
	return nil
}

func (a *attachment) raisePodEnd() error {
	if err := a.pod.LinkSetUp(byIndex(a.podIndex)); err != nil {
		return fmt.Errorf("%s in %s: %w", a.Name, a.path, err)
	}
	return nil
}

func (a *attachment) setPodAddresses() error {
	for _, ip := range a.Addresses {
		err := a.addPodAddress(ip)
		if ip.Is6() && errors.Is(err, ErrNoIPv6) {
			// Container engines switch IPv6 off by default in the namespaces
			// that they make; an IPv6 address says that it is wanted.
			if enableErr := a.inPod(a.enableIPv6); enableErr != nil {
				return fmt.Errorf("address %s on %s in %s: %w there: %w", ip, a.Name, a.path, err, enableErr)
			}
			err = a.addPodAddress(ip)
		}
		if err != nil {
			return fmt.Errorf("address %s on %s in %s: %w", ip, a.Name, a.path, err)
		}
	}
	return nil
}

func (a *attachment) addPodAddress(ip netip.Addr) error {
	addr := &netlink.Addr{LinkIndex: a.podIndex, IPNet: hostNet(ip)}
	if ip.Is4() {
		return a.pod.AddrReplace(nil, addr)
	}
	addr.Flags = unix.IFA_F_NODAD
	return noIPv6(a.pod.AddrReplace(nil, addr))
}

// enableIPv6 runs in the pod's namespace.
func (a *attachment) enableIPv6() error {
	return setSysctl("/proc/sys/net/ipv6/conf/"+a.Name+"/disable_ipv6", "0")
}

func (a *attachment) setPodNeighbours() error {
	for _, gw := range a.gateways() {
		if err := setNeighbour(a.pod, a.podIndex, gw, GatewayMAC()); err != nil {
			return fmt.Errorf("neighbour %s on %s in %s: %w", gw, a.Name, a.path, err)
		}
	}
	return nil
}

func (a *attachment) setPodRoutes() error {
	if gw := GatewayIPv4(); a.HasFamilyOf(gw) {
		err := a.addPodRoute(&netlink.Route{Dst: hostNet(gw), Scope: netlink.SCOPE_LINK})
		if err != nil {
			return fmt.Errorf("route to %s on %s in %s: %w", gw, a.Name, a.path, err)
		}
	}
	for _, dst := range a.Routes {
		gw := GatewayFor(dst.Addr())
		err := a.addPodRoute(&netlink.Route{Dst: ipNet(dst), Gw: gw.AsSlice()})
		if err != nil {
			return fmt.Errorf("route to %s via %s on %s in %s: %w", dst, gw, a.Name, a.path, err)
		}
	}
	return nil
}

// addPodRoute adds a route on the pod's interface. When the pod has such a
// route through another interface, that one stays the preferred one.
func (a *attachment) addPodRoute(r *netlink.Route) error {
	r.LinkIndex = a.podIndex
	err := a.pod.RouteAdd(r)
	if errors.Is(err, unix.EEXIST) {
		const behindKernelDefault = 1024 // the metric of an IPv6 route without one
		r.Priority = behindKernelDefault + a.podIndex
		err = a.pod.RouteAdd(r)
	}
	return err
}

func (a *attachment) setHostNeighbours() error {
	for _, ip := range a.Addresses {
		if err := setNeighbour(a.host, a.hostIndex, ip, a.MAC); err != nil {
			return fmt.Errorf("neighbour %s on %s: %w", ip, a.HostName, err)
		}
	}
	return nil
}

// setHostRoutes replaces rather than adds: the daemon may have been quicker,
// since it knows the endpoint record, and a crash may have left a route.
func (a *attachment) setHostRoutes() error {
	for _, ip := range a.Addresses {
		r := &netlink.Route{
			LinkIndex: a.hostIndex, Dst: hostNet(ip), Scope: netlink.SCOPE_LINK, Protocol: RouteProtocol,
		}
		if src := a.source(ip); src.IsValid() {
			r.Src = src.AsSlice()
		}
		err := a.host.RouteReplace(r)
		if errors.Is(err, unix.EINVAL) && r.Src != nil {
			// The source's address is not on the node at this moment, while
			// the daemon is dead perhaps; it sets the source when it is back.
			r.Src = nil
			err = a.host.RouteReplace(r)
		}
		if err != nil {
			return fmt.Errorf("route to %s on %s: %w", ip, a.HostName, err)
		}
	}
	return nil
}

// awaitReady returns when the host end can send and the pod can receive. The
// host end was brought up before its peer, so that the kernel sees its carrier
// only in deferred work, and until then drops what is sent there without a
// word; from Linux 6.8 on, asking for the link does that work. An IPv6 address
// gets its local route in deferred work, too. A link that is not ready in time
// is no failure: somebody may have set the peer down.
func (a *attachment) awaitReady() error {
	const (
		again   = time.Millisecond
		atMost  = time.Second
		retries = int(atMost / again)
	)
	for range retries {
		link, err := a.host.LinkByIndex(a.hostIndex)
		if err != nil {
			return fmt.Errorf("%s: %w", a.HostName, err)
		}
		if link.Attrs().OperState == netlink.OperUp && a.podReceives() {
			return nil
		}
		time.Sleep(again)
	}
	return nil
}

// podReceives says whether the pod takes packets to its IPv6 addresses for its
// own.
func (a *attachment) podReceives() bool {
	for _, ip := range a.Addresses {
		if ip.Is4() {
			continue
		}
		routes, err := a.pod.RouteGet(ip.AsSlice())
		if err != nil || len(routes) == 0 || routes[0].Type != unix.RTN_LOCAL {
			return false
		}
	}
	return true
}

// HasHostLink says whether the caller's namespace has a link of that name that
// is in use.
func HasHostLink(hostName string) (bool, error) {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return false, fmt.Errorf("open a netlink socket: %w", err)
	}
	defer h.Close()
	link, err := h.LinkByName(hostName)
	if errors.As(err, &netlink.LinkNotFoundError{}) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look for link %s: %w", hostName, err)
	}
	return link.Attrs().Group != RetiredGroup, nil
}

func deleteLink(h *netlink.Handle, name string) error {
	link, err := h.LinkByName(name)
	if errors.As(err, &netlink.LinkNotFoundError{}) {
		return nil
	}
	if err == nil {
		err = h.LinkDel(link)
	}
	if err != nil && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("delete link %s: %w%s", name, err, remedyFor(err))
	}
	return nil
}

func setNeighbour(h *netlink.Handle, index int, ip netip.Addr, mac MAC) error {
	return h.NeighSet(&netlink.Neigh{
		LinkIndex: index, IP: ip.AsSlice(), HardwareAddr: mac[:], State: netlink.NUD_PERMANENT,
	})
}

// noIPv6 recognises the kernel's ways of saying that IPv6 is off for a link:
// disable_ipv6, and a kernel that was booted without it.
func noIPv6(err error) error {
	if errors.Is(err, unix.EACCES) || errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EOPNOTSUPP) {
		return ErrNoIPv6
	}
	return err
}

func byIndex(index int) netlink.Link {
	return &netlink.GenericLink{LinkAttrs: netlink.LinkAttrs{Index: index}}
}

func hostNet(a netip.Addr) *net.IPNet { return ipNet(netip.PrefixFrom(a, a.BitLen())) }

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
