package kernel

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// multipath is a type that no desired route has: such a route of ours differs
// from every desired one and is replaced or deleted.
const multipath RouteType = "multipath"

// foreignEncap likewise: a lightweight tunnel of a type that Ropeway never uses.
const foreignEncap RouteType = "encap"

// rtaNexthopID is RTA_NH_ID of linux/rtnetlink.h.
const rtaNexthopID = 30

// foundRoute is a route of the main table, of any protocol.
type foundRoute struct {
	key      RouteKey
	route    Route
	protocol uint8
	index    int // of the link
}

// readAdvertised finds the interfaces with routes from router advertisements.
func (c *conn) readAdvertised(ctx context.Context, r *reading) error {
	routes, err := c.listRoutes(ctx, unix.AF_INET6, unix.RTPROT_RA)
	if err != nil {
		return err
	}
	for _, f := range routes {
		if i, ok := r.interfaces[f.index]; ok {
			i.Advertised = true
		}
	}
	return nil
}

func (c *conn) readRoutes(ctx context.Context, r *reading) error {
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		routes, err := c.listRoutes(ctx, family, RouteProtocol)
		if err != nil {
			return err
		}
		for _, f := range routes {
			if f.route.Type != Unreachable {
				name, ok := r.names[f.index]
				if !ok && f.route.Type == Unicast {
					continue // the link vanished meanwhile, and the route with it
				}
				f.route.Link = name
			}
			// The kernel uses the first of several equal keys.
			if _, ok := r.snapshot.State.Routes[f.key]; !ok {
				r.snapshot.State.Routes[f.key] = f.route
			}
		}
	}
	return nil
}

// listRoutes dumps the main table; protocol 0 is any. The kernel filters
// already (Linux 4.20), so that a node with a million BGP routes does not
// copy them all; older ones send everything, hence the second look.
func (c *conn) listRoutes(ctx context.Context, family, protocol uint8) ([]foundRoute, error) {
	return dump(ctx, "routes", func() ([]foundRoute, error) {
		req := c.request(unix.RTM_GETROUTE, unix.NLM_F_DUMP)
		req.AddData(&nl.RtMsg{RtMsg: unix.RtMsg{Family: family, Protocol: protocol, Table: unix.RT_TABLE_MAIN}})
		var routes []foundRoute
		var broken error
		err := req.ExecuteIter(unix.NETLINK_ROUTE, unix.RTM_NEWROUTE, func(m []byte) bool {
			msg := nl.DeserializeRtMsg(m)
			if msg.Family != family || msg.Table != unix.RT_TABLE_MAIN || msg.Flags&unix.RTM_F_CLONED != 0 ||
				protocol != 0 && msg.Protocol != protocol {
				return true
			}
			var f foundRoute
			f, broken = parseRoute(msg, m[msg.Len():])
			routes = append(routes, f)
			return broken == nil
		})
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EOPNOTSUPP) {
			return nil, nil // the kernel makes the table with its first route; no IPv6
		}
		return routes, errors.Join(err, broken)
	})
}

func parseRoute(msg *nl.RtMsg, attributes []byte) (foundRoute, error) {
	attrs, err := parseAttributes(attributes)
	if err != nil {
		return foundRoute{}, err
	}
	dst := netip.IPv4Unspecified()
	if msg.Family == unix.AF_INET6 {
		dst = netip.IPv6Unspecified()
	}
	f := foundRoute{protocol: msg.Protocol, route: Route{Type: routeType(msg.Type), OnLink: msg.Flags&unix.RTNH_F_ONLINK != 0}}
	metric := 0
	for _, a := range attrs {
		switch a.Attr.Type {
		case unix.RTA_DST:
			dst, _ = netip.AddrFromSlice(a.Value)
		case unix.RTA_GATEWAY:
			f.route.Gateway, _ = netip.AddrFromSlice(a.Value)
		case unix.RTA_VIA:
			if len(a.Value) > 2 { // an address family stands before the address
				f.route.Gateway, _ = netip.AddrFromSlice(a.Value[2:])
			}
		case unix.RTA_OIF:
			f.index = int(binary.NativeEndian.Uint32(a.Value))
		case unix.RTA_PREFSRC:
			f.route.Src, _ = netip.AddrFromSlice(a.Value)
		case unix.RTA_PRIORITY:
			metric = int(binary.NativeEndian.Uint32(a.Value))
		case unix.RTA_ENCAP:
			f.route.Encap = parseEncap(a.Value)
		case unix.RTA_ENCAP_TYPE:
			if binary.NativeEndian.Uint16(a.Value) != nl.LWTUNNEL_ENCAP_IP6 {
				f.route.Type = foreignEncap
			}
		case unix.RTA_MULTIPATH, rtaNexthopID:
			f.route.Type = multipath
		}
	}
	if msg.Family == unix.AF_INET6 && metric == defaultIPv6Metric {
		metric = 0
	}
	f.key = RouteKey{netip.PrefixFrom(dst, int(msg.Dst_len)), metric}
	return f, nil
}

// parseEncap reads the nested attributes of encap ip6. Ropeway sets no others
// than the two addresses.
func parseEncap(b []byte) Encap {
	var e Encap
	attrs, err := parseAttributes(b)
	if err != nil {
		return e
	}
	for _, a := range attrs {
		switch a.Attr.Type {
		case nl.LWTUNNEL_IP6_SRC:
			e.Src, _ = netip.AddrFromSlice(a.Value)
		case nl.LWTUNNEL_IP6_DST:
			e.Dst, _ = netip.AddrFromSlice(a.Value)
		}
	}
	return e
}

func encapAttributes(e Encap) []*nl.RtAttr {
	nested := nl.NewRtAttr(unix.RTA_ENCAP, nil)
	nested.AddRtAttr(nl.LWTUNNEL_IP6_DST, e.Dst.AsSlice())
	nested.AddRtAttr(nl.LWTUNNEL_IP6_SRC, e.Src.AsSlice())
	return []*nl.RtAttr{nl.NewRtAttr(unix.RTA_ENCAP_TYPE, nl.Uint16Attr(nl.LWTUNNEL_ENCAP_IP6)), nested}
}

func routeType(t uint8) RouteType {
	switch t {
	case unix.RTN_UNICAST:
		return Unicast
	case unix.RTN_UNREACHABLE:
		return Unreachable
	}
	return RouteType(fmt.Sprintf("type-%d", t))
}

// addRoute makes a route that must be new, unless the same is there.
func (a *application) addRoute(k RouteKey, r Route) error {
	err := a.sendRoute(unix.NLM_F_CREATE|unix.NLM_F_EXCL, k, r)
	if !errors.Is(err, unix.EEXIST) {
		return err
	}
	owner, found := a.routeOwner(k)
	switch {
	case !found:
		return err // it went away meanwhile; the next reconciliation succeeds
	case owner == RouteProtocol:
		return a.sendRoute(unix.NLM_F_CREATE|unix.NLM_F_REPLACE, k, r)
	}
	return &foreignRouteError{key: k, protocol: owner}
}

// routeOwner returns the protocol of the route that stands in the way.
func (a *application) routeOwner(k RouteKey) (protocol uint8, found bool) {
	family := family(k.Dst.Addr())
	if a.routes[family] == nil {
		routes, err := a.conn.listRoutes(a.ctx, family, 0)
		if err != nil {
			return 0, false
		}
		a.routes[family] = make(map[RouteKey]uint8, len(routes))
		for _, f := range routes {
			if _, ok := a.routes[family][f.key]; !ok {
				a.routes[family][f.key] = f.protocol
			}
		}
	}
	protocol, found = a.routes[family][k]
	return protocol, found
}

// foreignRouteError says that somebody else's route has the same destination.
type foreignRouteError struct {
	key      RouteKey
	protocol uint8
}

func (e *foreignRouteError) Error() string {
	return fmt.Sprintf("a route of protocol %s to the same destination exists", protocolName(e.protocol))
}

// protocolName is what `ip route` calls a routing protocol.
func protocolName(p uint8) string {
	names := map[uint8]string{
		unix.RTPROT_KERNEL: "kernel", unix.RTPROT_BOOT: "boot", unix.RTPROT_STATIC: "static",
		unix.RTPROT_RA: "ra", unix.RTPROT_ZEBRA: "zebra", unix.RTPROT_BIRD: "bird",
		unix.RTPROT_DHCP: "dhcp", unix.RTPROT_BGP: "bgp", unix.RTPROT_OSPF: "ospf",
	}
	if name, ok := names[p]; ok {
		return name
	}
	return fmt.Sprint(p)
}

func (a *application) sendRoute(flags int, k RouteKey, r Route) error {
	msg := nl.NewRtMsg()
	msg.Family = family(k.Dst.Addr())
	msg.Dst_len = uint8(k.Dst.Bits())
	msg.Protocol = RouteProtocol
	if r.OnLink {
		msg.Flags |= unix.RTNH_F_ONLINK
	}
	attrs := []*nl.RtAttr{nl.NewRtAttr(unix.RTA_DST, k.Dst.Addr().AsSlice())}
	switch r.Type {
	case Unreachable:
		msg.Type = unix.RTN_UNREACHABLE
	case Unicast:
		index, err := a.index(r.Link)
		if err != nil {
			return err
		}
		attrs = append(attrs, nl.NewRtAttr(unix.RTA_OIF, nl.Uint32Attr(uint32(index))))
		if !r.Gateway.IsValid() && k.Dst.Addr().Is4() {
			msg.Scope = unix.RT_SCOPE_LINK
		}
	default:
		return fmt.Errorf("route type %q is not known", r.Type)
	}
	if r.Gateway.IsValid() {
		attrs = append(attrs, gatewayAttribute(k.Dst.Addr(), r.Gateway))
	}
	if r.Encap != (Encap{}) {
		attrs = append(attrs, encapAttributes(r.Encap)...)
	}
	if r.Src.IsValid() {
		attrs = append(attrs, nl.NewRtAttr(unix.RTA_PREFSRC, r.Src.AsSlice()))
	}
	if m := k.kernelMetric(); m != 0 {
		attrs = append(attrs, nl.NewRtAttr(unix.RTA_PRIORITY, nl.Uint32Attr(uint32(m))))
	}
	req := a.conn.request(unix.RTM_NEWROUTE, flags|unix.NLM_F_ACK)
	req.AddData(msg)
	for _, attr := range attrs {
		req.AddData(attr)
	}
	_, err := req.Execute(unix.NETLINK_ROUTE, 0)
	return err
}

func gatewayAttribute(dst, gateway netip.Addr) *nl.RtAttr {
	if dst.Is4() == gateway.Is4() {
		return nl.NewRtAttr(unix.RTA_GATEWAY, gateway.AsSlice())
	}
	via := binary.NativeEndian.AppendUint16(nil, uint16(family(gateway)))
	return nl.NewRtAttr(unix.RTA_VIA, append(via, gateway.AsSlice()...))
}

func (a *application) deleteRoute(op RouteDel) error {
	k := op.RouteKey
	msg := nl.NewRtDelMsg()
	msg.Family = family(k.Dst.Addr())
	msg.Dst_len = uint8(k.Dst.Bits())
	msg.Protocol = RouteProtocol
	req := a.conn.request(unix.RTM_DELROUTE, unix.NLM_F_ACK)
	req.AddData(msg)
	req.AddData(nl.NewRtAttr(unix.RTA_DST, k.Dst.Addr().AsSlice()))
	if op.Link != "" {
		index, err := a.index(op.Link)
		if err != nil {
			return err
		}
		req.AddData(nl.NewRtAttr(unix.RTA_OIF, nl.Uint32Attr(uint32(index))))
	}
	if m := k.kernelMetric(); m != 0 {
		req.AddData(nl.NewRtAttr(unix.RTA_PRIORITY, nl.Uint32Attr(uint32(m))))
	}
	_, err := req.Execute(unix.NETLINK_ROUTE, 0)
	return err
}

// family is the address family in a netlink message.
func family(a netip.Addr) uint8 {
	if a.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}
