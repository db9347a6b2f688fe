package kernel

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	mdl "github.com/mdlayher/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// watchBuffer holds some thousand notifications. When more come at once the
// kernel says that some were lost, which is as good as a report.
const watchBuffer = 1 << 20 // bytes

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
func (c *conn) Watch(ctx context.Context) (<-chan struct{}, error) {
	routes, err := c.subscribe(unix.NETLINK_ROUTE, mdl.Config{Groups: routeGroups()})
	if err != nil {
		return nil, err
	}
	tables, err := c.subscribe(unix.NETLINK_NETFILTER, mdl.Config{Groups: 1 << (unix.NFNLGRP_NFTABLES - 1)})
	if err != nil {
		return nil, errors.Join(err, routes.Close())
	}
	own, err := c.ownIndexes(ctx)
	owned, ownedErr := c.ownership(ctx)
	if err = errors.Join(err, ownedErr); err != nil {
		return nil, errors.Join(err, routes.Close(), tables.Close())
	}

	reports := make(chan struct{}, 1)
	stop := sync.OnceFunc(func() {
		routes.Close()
		tables.Close()
	})
	forget := context.AfterFunc(ctx, stop)
	var receivers sync.WaitGroup
	for socket, concerns := range map[*mdl.Conn]func(mdl.Message) bool{
		routes: func(m mdl.Message) bool {
			if owned.damaged(m) {
				c.culprits.blame(m.Header.PID)
			}
			return own.concerns(m)
		},
		tables: func(m mdl.Message) bool {
			concerns := c.firewalls.concerns(m)
			if concerns {
				c.culprits.blame(m.Header.PID)
			}
			return concerns
		},
	} {
		receivers.Go(func() {
			defer stop() // a socket that broke ends the watch, so that it can begin again
			receive(socket, concerns, reports)
		})
	}
	go func() {
		receivers.Wait()
		forget()
		close(reports)
	}()
	return reports, nil
}

func (c *conn) subscribe(family int, config mdl.Config) (*mdl.Conn, error) {
	if c.ns.IsOpen() {
		config.NetNS = int(c.ns)
	}
	socket, err := mdl.Dial(family, &config)
	if err != nil {
		return nil, fmt.Errorf("watch the kernel: %w", err)
	}
	// Without privilege the buffer stays as small as the system has it.
	_ = socket.SetReadBuffer(watchBuffer)
	return socket, nil
}

// receive reports until the socket is closed.
func receive(socket *mdl.Conn, concerns func(mdl.Message) bool, reports chan<- struct{}) {
	for {
		messages, err := socket.Receive()
		lost := errors.Is(err, unix.ENOBUFS)
		if err != nil && !lost {
			return
		}
		relevant := lost
		for _, m := range messages {
			// Every message is looked at: they keep the set of links current.
			if concerns(m) {
				relevant = true
			}
		}
		if !relevant {
			continue
		}
		select {
		case reports <- struct{}{}:
		default: // one is waiting already
		}
	}
}

// linkSet is the set of Ropeway's links by index, as far as notifications
// tell.
type linkSet map[int32]bool

func (c *conn) ownIndexes(ctx context.Context) (linkSet, error) {
	links, err := dump(ctx, "links", c.handle.LinkList)
	if err != nil {
		return nil, err
	}
	own := linkSet{}
	for _, l := range links {
		if isOwnLink(l.Attrs().Name) {
			own[int32(l.Attrs().Index)] = true
		}
	}
	return own, nil
}

// concerns says whether a change may matter to Ropeway. Links and addresses
// of others do: topology decides by them. Neighbours of others do not.
func (s linkSet) concerns(m mdl.Message) bool {
	b := m.Data
	switch m.Header.Type {
	case unix.RTM_NEWLINK, unix.RTM_DELLINK:
		if len(b) < unix.SizeofIfInfomsg || b[0] != unix.AF_UNSPEC {
			return false // news of a bridge port or of an IPv6 property
		}
		s.track(m.Header.Type, b)
		return true
	case unix.RTM_NEWNEIGH, unix.RTM_DELNEIGH:
		return len(b) >= unix.SizeofNdMsg && s[int32(binary.NativeEndian.Uint32(b[4:]))]
	case unix.RTM_NEWQDISC, unix.RTM_DELQDISC, unix.RTM_NEWTFILTER, unix.RTM_DELTFILTER:
		return len(b) >= nl.SizeofTcMsg && s[int32(binary.NativeEndian.Uint32(b[4:]))]
	case unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
		if len(b) < unix.SizeofRtMsg {
			return false
		}
		msg := nl.DeserializeRtMsg(b)
		// Somebody's route that replaces ours is announced without a word
		// about ours.
		return msg.Protocol == RouteProtocol ||
			msg.Table == unix.RT_TABLE_MAIN && m.Header.Flags&unix.NLM_F_REPLACE != 0
	}
	return true
}

func (s linkSet) track(typ mdl.HeaderType, b []byte) {
	index := nl.DeserializeIfInfomsg(b).Index
	if typ == unix.RTM_DELLINK {
		delete(s, index)
		return
	}
	attrs, err := nl.ParseRouteAttr(b[unix.SizeofIfInfomsg:])
	if err != nil {
		return
	}
	for _, a := range attrs {
		if a.Attr.Type == unix.IFLA_IFNAME {
			s[index] = isOwnLink(nl.BytesToString(a.Value))
		}
	}
}
