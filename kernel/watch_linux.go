package kernel

import (
	"context"
	"encoding/binary"
	"errors"
	"sync"

	mdl "github.com/mdlayher/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// routeGroups are the rtnetlink groups of a watch. Forwarding entries come
// with neighbours; forwarding and reverse-path sysctls with netconf.
func routeGroups() uint32 {
	var mask uint32
	for _, g := range []int{
		unix.RTNLGRP_LINK, unix.RTNLGRP_NEIGH, unix.RTNLGRP_TC,
		unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR,
		unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE,
		unix.RTNLGRP_IPV4_NETCONF, unix.RTNLGRP_IPV6_NETCONF,
	} {
		mask |= 1 << (g - 1)
	}
	return mask
}

// Watch implements [Kernel].
func (c *conn) Watch(ctx context.Context) (<-chan Report, error) {
	routes, err := c.subscribe(unix.NETLINK_ROUTE, routeGroups())
	if err != nil {
		return nil, err
	}
	tables, err := c.subscribe(unix.NETLINK_NETFILTER, 1<<(unix.NFNLGRP_NFTABLES-1))
	if err != nil {
		routes.Close()
		return nil, err
	}
	links, err := c.linkReports(ctx)
	owned, ownedErr := c.ownership(ctx)
	if err = errors.Join(err, ownedErr); err != nil {
		routes.Close()
		tables.Close()
		return nil, err
	}

	reports := newReports()
	// A socket that broke ends the watch, so that it can begin again.
	ctx, stop := context.WithCancel(ctx)
	var receivers sync.WaitGroup
	receivers.Go(func() {
		defer stop()
		_ = routes.report(ctx, reports, func() { links.lost = true }, func(m mdl.Message) Report {
			if owned.damaged(m) {
				c.culprits.blame(m.Header.PID)
			}
			return links.judge(m)
		})
	})
	receivers.Go(func() {
		defer stop()
		_ = tables.report(ctx, reports, func() {}, func(m mdl.Message) Report {
			if !c.firewalls.concerns(m) {
				return nothing
			}
			c.culprits.blame(m.Header.PID)
			return Changed
		})
	})
	go func() {
		receivers.Wait()
		routes.Close()
		tables.Close()
		close(reports.c)
	}()
	return reports.c, nil
}

// linkReports says what a change of something on a link is, as far as notifications
// tell: nothing on links of others.
type linkReports struct {
	byIndex map[int32]Report
	// lost says that notifications were, after which a link that is not known may
	// be anybody's.
	lost bool
}

func (s *linkReports) of(index int32) Report {
	report, known := s.byIndex[index]
	if !known && s.lost {
		return PodsChanged
	}
	return report
}

func reportOf(name string) Report {
	switch {
	case isTunnelLink(name):
		return Changed
	case isOwnLink(name):
		return PodsChanged
	}
	return nothing
}

func (c *conn) linkReports(ctx context.Context) (*linkReports, error) {
	links, err := dump(ctx, "links", c.handle.LinkList)
	if err != nil {
		return nil, err
	}
	all := map[int32]Report{}
	for _, l := range links {
		all[int32(l.Attrs().Index)] = reportOf(l.Attrs().Name)
	}
	return &linkReports{byIndex: all}, nil
}

// judge says whether a change may matter to Ropeway. Links and addresses of
// others do: topology decides by them. Neighbours of others do not.
func (s *linkReports) judge(m mdl.Message) Report {
	b := m.Data
	const index = 4 // bytes in front of it, in the messages about addresses, neighbours and qdiscs
	switch m.Header.Type {
	case unix.RTM_NEWLINK, unix.RTM_DELLINK:
		if len(b) < unix.SizeofIfInfomsg || b[0] != unix.AF_UNSPEC {
			return nothing // news of a bridge port or of an IPv6 property
		}
		return s.track(m.Header.Type, b)
	case unix.RTM_NEWNEIGH, unix.RTM_DELNEIGH, unix.RTM_NEWQDISC, unix.RTM_DELQDISC, unix.RTM_NEWTFILTER, unix.RTM_DELTFILTER:
		if len(b) < index+4 {
			return nothing
		}
		return s.of(int32(binary.NativeEndian.Uint32(b[index:])))
	case unix.RTM_NEWADDR, unix.RTM_DELADDR:
		if len(b) >= index+4 && s.of(int32(binary.NativeEndian.Uint32(b[index:]))) == PodsChanged {
			return PodsChanged
		}
	case unix.RTM_NEWNETCONF, unix.RTM_DELNETCONF:
		return s.netconf(b)
	case unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
		return s.route(m)
	}
	return Changed
}

// track keeps the links current, and judges news of one.
func (s *linkReports) track(typ mdl.HeaderType, b []byte) Report {
	index := nl.DeserializeIfInfomsg(b).Index
	if typ == unix.RTM_NEWLINK {
		if name, ok := attribute(b[unix.SizeofIfInfomsg:], unix.IFLA_IFNAME); ok {
			s.byIndex[index] = reportOf(unix.ByteSliceToString(name))
		}
	}
	report := s.of(index)
	if typ == unix.RTM_DELLINK {
		delete(s.byIndex, index)
	}
	if report == nothing {
		return Changed
	}
	return report
}

// netconf judges news of forwarding and the like. A link that is made is
// announced with its settings first, then by itself.
func (s *linkReports) netconf(b []byte) Report {
	const header = 4 // bytes, struct netconfmsg filled up
	if len(b) < header {
		return nothing
	}
	value, ok := attribute(b[header:], netconfIfIndex)
	if !ok || len(value) != 4 {
		return Changed
	}
	index := int32(binary.NativeEndian.Uint32(value))
	_, known := s.byIndex[index]
	report := s.of(index)
	if index <= 0 || known && report != PodsChanged { // below 0: all, and default
		return Changed
	}
	return report
}

// netconfIfIndex is NETCONFA_IFINDEX of linux/netconf.h.
const netconfIfIndex = 1

func (s *linkReports) route(m mdl.Message) Report {
	if len(m.Data) < unix.SizeofRtMsg {
		return nothing
	}
	switch msg := nl.DeserializeRtMsg(m.Data); {
	case msg.Protocol == RouteProtocol:
		out, ok := attribute(m.Data[unix.SizeofRtMsg:], unix.RTA_OIF)
		if ok && len(out) == 4 && s.of(int32(binary.NativeEndian.Uint32(out))) == PodsChanged {
			return PodsChanged
		}
		return Changed
	case msg.Table == unix.RT_TABLE_MAIN && m.Header.Flags&unix.NLM_F_REPLACE != 0:
		return Changed // it may have replaced ours, which the kernel does not mention
	}
	return nothing
}
