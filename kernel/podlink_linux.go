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

// AttachSteps are what makes the pod link, in order, each about one message to
// the kernel. The link's own step covers the undoing of all later ones: what
// hangs on a link goes with it. The pod's loopback stays up, since others may
// have come to use it.
func (n *PodNetns) AttachSteps(ctx context.Context, l PodLink) []Step {
	a := &attachment{PodNetns: n, PodLink: l}
	return []Step{
		{Name: "create the pod link", Do: func() error { return a.createLink(ctx) }, Undo: a.deleteLink},
		{Name: "configure the host end", Do: a.configureHostEnd},
		{Name: "bring up the host end", Do: a.raiseHostEnd},
		{Name: "configure the pod's interface", Do: a.configurePodEnd},
		{Name: "set the host's neighbours and routes", Do: a.setHostRoutes},
		{Name: "wait for the link to carry packets", Do: a.awaitReady},
	}
}

func (a *attachment) createLink(ctx context.Context) error {
	err := a.tryCreateLink()
	if errors.Is(err, unix.EEXIST) {
		// One that was detached just now may have the name still.
		if err = DeleteRetired(ctx); err == nil {
			err = a.tryCreateLink()
		}
	}
	if errors.Is(err, unix.EEXIST) {
		err = ErrLinkExists
	}
	if err != nil {
		return fmt.Errorf("veth %s with peer %s in %s: %w%s", a.HostName, a.Name, a.path, err, remedyFor(err))
	}
	return nil
}

// tryCreateLink makes the link and asks for its indexes in one message.
func (a *attachment) tryCreateLink() error {
	refused, answers, err := a.host.exchange(
		vethRequest(vethEnd{a.HostName, GatewayMAC(), a.MTU}, vethEnd{a.Name, a.MAC, a.MTU}, a.fd),
		linkRequest(a.HostName))
	if err != nil {
		return err
	}
	if refused[0] != nil {
		return refused[0]
	}
	err = refused[1]
	if err == nil {
		var made linkFact
		made, err = parseLink(answers[1])
		a.hostIndex, a.podIndex = made.index, made.peer
	}
	if err != nil {
		return errors.Join(err, a.deleteLink()) // a step that fails undoes itself
	}
	return nil
}

func (a *attachment) deleteLink() error { return deleteLink(a.host, a.HostName) }

// deleteLink deletes a link; one that is gone is no error.
func deleteLink(s *routeSocket, name string) error {
	err := s.one(deleteRequest(name))
	if err != nil && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("delete link %s: %w%s", name, err, remedyFor(err))
	}
	return nil
}

// configureHostEnd sets what must be so before the first packet: no
// link-local address of its own, strict reverse path, no redirects,
// forwarding whatever the node's default is.
func (a *attachment) configureHostEnd() error {
	err := a.host.one(linkConfig(a.hostIndex, addrGenNone, aliasOf(a.Network)))
	if errors.Is(err, unix.EAFNOSUPPORT) && !a.HasFamilyOf(GatewayIPv6()) {
		// The node or so small an MTU has no IPv6.
		err = a.host.one(linkConfig(a.hostIndex, addrGenDefault, aliasOf(a.Network)))
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

// raiseHostEnd gives the host end the gateways' addresses and brings it up. It
// carries nothing yet, for its peer is down.
func (a *attachment) raiseHostEnd() error {
	var set []request
	for _, gw := range a.gateways() {
		r := request{
			NetlinkRequest: addressRequest(a.hostIndex, netip.PrefixFrom(gw, gw.BitLen()), unix.RT_SCOPE_HOST, 0),
			what:           fmt.Sprintf("address %s on %s", gw, a.HostName),
		}
		if gw.Is6() {
			r.NetlinkRequest = addressRequest(a.hostIndex, netip.PrefixFrom(gw, 64), unix.RT_SCOPE_LINK, unix.IFA_F_NODAD)
			r.recover = func(refusal error) error {
				if errors.Is(noIPv6(refusal), ErrNoIPv6) {
					return fmt.Errorf("%w on the node; set net.ipv6.conf.default.disable_ipv6=0 or use no IPv6 pod CIDR", ErrNoIPv6)
				}
				return refusal
			}
		}
		set = append(set, r)
	}
	return a.host.do(append(set, request{NetlinkRequest: linkUp("", a.hostIndex), what: "bring up " + a.HostName}))
}

// configurePodEnd brings up the pod's loopback and interface and gives it
// addresses, neighbours and routes, in one message.
func (a *attachment) configurePodEnd() error {
	set := []request{
		{NetlinkRequest: linkUp("lo", 0), what: "bring up lo in " + a.path},
		{NetlinkRequest: linkUp("", a.podIndex), what: "bring up " + a.onPod()},
	}
	for _, ip := range a.Addresses {
		set = append(set, a.podAddress(ip))
	}
	for _, gw := range a.gateways() {
		set = append(set, request{
			NetlinkRequest: neighbourRequest(a.podIndex, gw, GatewayMAC()),
			what:           fmt.Sprintf("neighbour %s on %s", gw, a.onPod()),
		})
	}
	if gw := GatewayIPv4(); a.HasFamilyOf(gw) {
		set = append(set, a.podRoute(podRoute{dst: netip.PrefixFrom(gw, gw.BitLen()), scope: unix.RT_SCOPE_LINK}))
	}
	for _, dst := range a.Routes {
		set = append(set, a.podRoute(podRoute{dst: dst, via: GatewayFor(dst.Addr())}))
	}
	return a.pod.do(set)
}

func (a *attachment) onPod() string { return a.Name + " in " + a.path }

// podAddress sets an address of the pod. Container engines switch IPv6 off by
// default in the namespaces that they make; an IPv6 address says that it is
// wanted.
func (a *attachment) podAddress(ip netip.Addr) request {
	whole := netip.PrefixFrom(ip, ip.BitLen())
	r := request{
		NetlinkRequest: addressRequest(a.podIndex, whole, unix.RT_SCOPE_UNIVERSE, 0),
		what:           fmt.Sprintf("address %s on %s", ip, a.onPod()),
	}
	if ip.Is4() {
		return r
	}
	r.NetlinkRequest = addressRequest(a.podIndex, whole, unix.RT_SCOPE_UNIVERSE, unix.IFA_F_NODAD)
	r.recover = func(refusal error) error {
		if !errors.Is(noIPv6(refusal), ErrNoIPv6) {
			return refusal
		}
		if err := a.inPod(a.enableIPv6); err != nil {
			return fmt.Errorf("%w there: %w", ErrNoIPv6, err)
		}
		return noIPv6(a.pod.one(r.NetlinkRequest))
	}
	return r
}

// enableIPv6 runs in the pod's namespace.
func (a *attachment) enableIPv6() error {
	return setSysctl("/proc/sys/net/ipv6/conf/"+a.Name+"/disable_ipv6", "0")
}

// podRoute adds a route on the pod's interface. When the pod has such a
// route through another interface, that one stays the preferred one.
func (a *attachment) podRoute(route podRoute) request {
	route.index, route.protocol = a.podIndex, unix.RTPROT_BOOT
	r := request{
		NetlinkRequest: route.request(unix.NLM_F_EXCL),
		what:           fmt.Sprintf("route to %s on %s", route.dst, a.onPod()),
	}
	if route.via.IsValid() {
		r.what = fmt.Sprintf("route to %s via %s on %s", route.dst, route.via, a.onPod())
	}
	r.recover = func(refusal error) error {
		if !errors.Is(refusal, unix.EEXIST) {
			return refusal
		}
		const behindKernelDefault = 1024 // the metric of an IPv6 route without one
		route.metric = behindKernelDefault + a.podIndex
		return a.pod.one(route.request(unix.NLM_F_EXCL))
	}
	return r
}

// setHostRoutes replaces rather than adds: the daemon may have been quicker,
// since it knows the endpoint record, and a crash may have left a route.
func (a *attachment) setHostRoutes() error {
	var set []request
	for _, ip := range a.Addresses {
		set = append(set, request{
			NetlinkRequest: neighbourRequest(a.hostIndex, ip, a.MAC),
			what:           fmt.Sprintf("neighbour %s on %s", ip, a.HostName),
		})
	}
	for _, ip := range a.Addresses {
		route := podRoute{
			index: a.hostIndex, dst: netip.PrefixFrom(ip, ip.BitLen()), src: a.source(ip),
			scope: unix.RT_SCOPE_LINK, protocol: RouteProtocol,
		}
		set = append(set, request{
			NetlinkRequest: route.request(unix.NLM_F_REPLACE),
			what:           fmt.Sprintf("route to %s on %s", ip, a.HostName),
			recover: func(refusal error) error {
				if !errors.Is(refusal, unix.EINVAL) || !route.src.IsValid() {
					return refusal
				}
				// The source's address is not on the node at this moment, while
				// the daemon is dead perhaps; it sets the source when it is back.
				route.src = netip.Addr{}
				return a.host.one(route.request(unix.NLM_F_REPLACE))
			},
		})
	}
	return a.host.do(set)
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
		link, found, err := a.host.findLink(a.HostName)
		if err == nil && !found {
			err = errors.New("it is gone")
		}
		if err != nil {
			return fmt.Errorf("%s: %w", a.HostName, err)
		}
		if link.running && a.podReceives() {
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
		if ip.Is6() && !a.pod.isLocal(ip) {
			return false
		}
	}
	return true
}

// HasHostLink says whether the caller's namespace has a link of that name that
// is in use.
func HasHostLink(hostName string) (bool, error) {
	s, err := newRouteSocket()
	if err != nil {
		return false, fmt.Errorf("open a netlink socket: %w", err)
	}
	defer s.Close()
	link, found, err := s.findLink(hostName)
	if err != nil {
		return false, fmt.Errorf("look for link %s: %w", hostName, err)
	}
	return found && link.group != RetiredGroup, nil
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

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
