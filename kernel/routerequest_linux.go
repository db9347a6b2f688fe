package kernel

import (
	"encoding/binary"
	"errors"
	"net/netip"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// linkFact is what is asked of a link.
type linkFact struct {
	index, peer int
	running     bool // it can carry packets
	group       uint32
}

// skipStatistics is RTEXT_FILTER_SKIP_STATS of linux/rtnetlink.h.
const skipStatistics = 1 << 3

// linkRequest asks for a link by name.
func linkRequest(name string) *nl.NetlinkRequest {
	req := nl.NewNetlinkRequest(unix.RTM_GETLINK, 0)
	req.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
	req.AddData(nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(name)))
	req.AddData(nl.NewRtAttr(unix.IFLA_EXT_MASK, nl.Uint32Attr(skipStatistics)))
	return req
}

// findLink is false when there is no link of that name.
func (s *routeSocket) findLink(name string) (linkFact, bool, error) {
	refused, answers, err := s.exchange(linkRequest(name))
	switch {
	case err != nil:
		return linkFact{}, false, err
	case errors.Is(refused[0], unix.ENODEV):
		return linkFact{}, false, nil
	case refused[0] != nil:
		return linkFact{}, false, refused[0]
	}
	fact, err := parseLink(answers[0])
	return fact, err == nil, err
}

// isLocal says whether the namespace takes packets to ip for its own.
func (s *routeSocket) isLocal(ip netip.Addr) bool {
	req := nl.NewNetlinkRequest(unix.RTM_GETROUTE, 0)
	req.AddData(&nl.RtMsg{RtMsg: unix.RtMsg{Family: family(ip), Dst_len: uint8(ip.BitLen())}})
	req.AddData(nl.NewRtAttr(unix.RTA_DST, ip.AsSlice()))
	refused, answers, err := s.exchange(req)
	if err != nil || refused[0] != nil || len(answers[0]) < unix.SizeofRtMsg {
		return false
	}
	const rtmType = 7 // offset in struct rtmsg
	return answers[0][rtmType] == unix.RTN_LOCAL
}

// parseLink reads a struct ifinfomsg and the attributes behind it.
func parseLink(b []byte) (linkFact, error) {
	if len(b) < unix.SizeofIfInfomsg {
		return linkFact{}, errors.New("the kernel says nothing about the link")
	}
	attrs, err := parseAttributes(b[unix.SizeofIfInfomsg:])
	if err != nil {
		return linkFact{}, err
	}
	fact := linkFact{index: int(binary.NativeEndian.Uint32(b[4:]))}
	for _, a := range attrs {
		switch {
		case a.Attr.Type == unix.IFLA_OPERSTATE && len(a.Value) > 0:
			fact.running = a.Value[0] == netlink.OperUp
		case a.Attr.Type == unix.IFLA_LINK && len(a.Value) == 4:
			fact.peer = int(binary.NativeEndian.Uint32(a.Value))
		case a.Attr.Type == unix.IFLA_GROUP && len(a.Value) == 4:
			fact.group = binary.NativeEndian.Uint32(a.Value)
		}
	}
	return fact, nil
}

// linkUp brings up a link by its index, or by its name where that is 0.
func linkUp(name string, index int) *nl.NetlinkRequest {
	req := nl.NewNetlinkRequest(unix.RTM_SETLINK, 0)
	msg := nl.NewIfInfomsg(unix.AF_UNSPEC)
	msg.Index = int32(index)
	msg.Flags, msg.Change = unix.IFF_UP, unix.IFF_UP
	req.AddData(msg)
	if index == 0 {
		req.AddData(nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(name)))
	}
	return req
}

// deleteRequest deletes the link of that name.
func deleteRequest(name string) *nl.NetlinkRequest {
	req := nl.NewNetlinkRequest(unix.RTM_DELLINK, 0)
	req.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
	req.AddData(nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(name)))
	return req
}

// vethEnd is one end of a veth pair.
type vethEnd struct {
	name string
	mac  MAC
	mtu  int
}

func (e vethEnd) attributes() []*nl.RtAttr {
	return []*nl.RtAttr{
		nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(e.name)),
		nl.NewRtAttr(unix.IFLA_MTU, nl.Uint32Attr(uint32(e.mtu))),
		nl.NewRtAttr(unix.IFLA_ADDRESS, e.mac[:]),
		// For as many as there are processors the kernel takes longer, and uses one.
		nl.NewRtAttr(unix.IFLA_NUM_TX_QUEUES, nl.Uint32Attr(1)),
		nl.NewRtAttr(unix.IFLA_NUM_RX_QUEUES, nl.Uint32Attr(1)),
	}
}

// vethPeer is VETH_INFO_PEER of linux/veth.h.
const vethPeer = 1

// vethRequest makes a veth pair whose far end is born in the namespace ns.
func vethRequest(near, far vethEnd, ns int) *nl.NetlinkRequest {
	req := nl.NewNetlinkRequest(unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL)
	req.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
	for _, a := range near.attributes() {
		req.AddData(a)
	}
	info := nl.NewRtAttr(unix.IFLA_LINKINFO, nil)
	info.AddRtAttr(unix.IFLA_INFO_KIND, nl.NonZeroTerminated("veth"))
	peer := info.AddRtAttr(unix.IFLA_INFO_DATA, nil).AddRtAttr(vethPeer, nil)
	nl.NewIfInfomsgChild(peer, unix.AF_UNSPEC)
	for _, a := range far.attributes() {
		peer.AddChild(a)
	}
	peer.AddRtAttr(unix.IFLA_NET_NS_FD, nl.Uint32Attr(uint32(ns)))
	req.AddData(info)
	return req
}

// addressRequest sets an address with its prefix length.
func addressRequest(index int, p netip.Prefix, scope, flags uint8) *nl.NetlinkRequest {
	req := nl.NewNetlinkRequest(unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_REPLACE)
	msg := nl.NewIfAddrmsg(int(family(p.Addr())))
	msg.Index, msg.Prefixlen, msg.Scope, msg.Flags = uint32(index), uint8(p.Bits()), scope, flags
	req.AddData(msg)
	req.AddData(nl.NewRtAttr(unix.IFA_LOCAL, p.Addr().AsSlice()))
	req.AddData(nl.NewRtAttr(unix.IFA_ADDRESS, p.Addr().AsSlice()))
	return req
}

// neighbourRequest sets a permanent neighbour.
func neighbourRequest(index int, ip netip.Addr, mac MAC) *nl.NetlinkRequest {
	req := nl.NewNetlinkRequest(unix.RTM_NEWNEIGH, unix.NLM_F_CREATE|unix.NLM_F_REPLACE)
	req.AddData(&netlink.Ndmsg{Family: family(ip), Index: uint32(index), State: netlink.NUD_PERMANENT})
	req.AddData(nl.NewRtAttr(netlink.NDA_DST, ip.AsSlice()))
	req.AddData(nl.NewRtAttr(netlink.NDA_LLADDR, mac[:]))
	return req
}

// podRoute is a unicast route of the main table.
type podRoute struct {
	index    int
	dst      netip.Prefix
	via, src netip.Addr // zero: none
	scope    uint8
	protocol uint8
	metric   int // 0: the kernel's default
}

// request adds the route; flags say what happens when it is there.
func (r podRoute) request(flags int) *nl.NetlinkRequest {
	req := nl.NewNetlinkRequest(unix.RTM_NEWROUTE, unix.NLM_F_CREATE|flags)
	req.AddData(&nl.RtMsg{RtMsg: unix.RtMsg{
		Family: family(r.dst.Addr()), Dst_len: uint8(r.dst.Bits()), Table: unix.RT_TABLE_MAIN,
		Protocol: r.protocol, Scope: r.scope, Type: unix.RTN_UNICAST,
	}})
	if r.dst.Bits() > 0 {
		req.AddData(nl.NewRtAttr(unix.RTA_DST, r.dst.Addr().AsSlice()))
	}
	if r.via.IsValid() {
		req.AddData(nl.NewRtAttr(unix.RTA_GATEWAY, r.via.AsSlice()))
	}
	if r.src.IsValid() {
		req.AddData(nl.NewRtAttr(unix.RTA_PREFSRC, r.src.AsSlice()))
	}
	if r.metric > 0 {
		req.AddData(nl.NewRtAttr(unix.RTA_PRIORITY, nl.Uint32Attr(uint32(r.metric))))
	}
	req.AddData(nl.NewRtAttr(unix.RTA_OIF, nl.Uint32Attr(uint32(r.index))))
	return req
}
