package kernel

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mdlayher/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// ForgetUDP deletes the tracked UDP flows of the caller's namespace that match,
// and says how many those were. A kernel that cannot list flows has none
// forgotten, which is no error: they end by themselves after some minutes
// without packets.
func ForgetUDP(ctx context.Context, match func(Flow) bool) (int, error) {
	return forgetUDP(ctx, netns.None(), match)
}

func forgetUDP(ctx context.Context, ns netns.NsHandle, match func(Flow) bool) (int, error) {
	walks := []walk{
		{unix.NFPROTO_IPV4, flowFilter{protocol: UDP}},
		{unix.NFPROTO_IPV6, flowFilter{protocol: UDP}},
	}
	return forget(ctx, ns, walks, func(f trackedFlow) bool { return f.protocol == UDP && match(f.Flow) })
}

// ForgetAddresses deletes the tracked flows of the caller's namespace that an
// address has begun or answers, of any protocol, and says how many those were.
// It costs one read of a file when nothing is tracked. A kernel that cannot
// list flows has none forgotten, which is no error.
func ForgetAddresses(ctx context.Context, addresses []netip.Addr) (int, error) {
	return forgetAddresses(ctx, netns.None(), addresses)
}

func forgetAddresses(ctx context.Context, ns netns.NsHandle, addresses []netip.Addr) (int, error) {
	var walks []walk
	whose := map[netip.Addr]bool{}
	for _, a := range addresses {
		whose[a] = true
		if a.Is4() {
			walks = append(walks, walk{unix.NFPROTO_IPV4, flowFilter{client: a}}, walk{unix.NFPROTO_IPV4, flowFilter{from: a}})
		}
	}
	if slices.ContainsFunc(addresses, netip.Addr.Is6) {
		// The kernel compares IPv6 addresses the wrong way round (Linux 6.18).
		walks = append(walks, walk{family: unix.NFPROTO_IPV6})
	}
	return forget(ctx, ns, walks, func(f trackedFlow) bool { return whose[f.client.Addr()] || whose[f.From.Addr()] })
}

// walk is one list of flows.
type walk struct {
	family uint8
	filter flowFilter
}

// forget deletes the flows of the walks that match. While there are few flows
// it reads them all in one walk instead.
func forget(ctx context.Context, ns netns.NsHandle, walks []walk, match func(trackedFlow) bool) (forgotten int, err error) {
	if len(walks) == 0 {
		return 0, nil
	}
	if !ns.IsOpen() {
		switch count, known := trackedFlows(); {
		case known && count == 0:
			return 0, nil
		case known && count <= fewFlows:
			walks = []walk{{family: unix.NFPROTO_UNSPEC}}
		}
	}
	config := &netlink.Config{}
	if ns.IsOpen() {
		config.NetNS = int(ns)
	}
	nl, err := netlink.Dial(unix.NETLINK_NETFILTER, config)
	if err != nil {
		return 0, fmt.Errorf("forget flows: %w", err)
	}
	defer func() { _ = nl.Close() }()
	_ = nl.SetReadBuffer(receiveBuffer) // smaller without privilege
	stop := context.AfterFunc(ctx, func() { _ = nl.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	for _, w := range walks {
		flows, err := listFlows(nl, w)
		if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EINVAL) {
			return forgotten, nil // without CONFIG_NF_CT_NETLINK
		}
		if err != nil {
			return forgotten, fmt.Errorf("list flows: %w", errors.Join(err, ctx.Err()))
		}
		for _, f := range flows {
			if !match(f) {
				continue
			}
			if err := deleteFlow(nl, f); err != nil {
				return forgotten, fmt.Errorf("forget the flow to %s: %w", f.To, errors.Join(err, ctx.Err()))
			}
			forgotten++
		}
	}
	return forgotten, nil
}

// fewFlows is up to which number it costs less to read all flows than to look
// at the whole table a second time, which takes 10 ms on a large machine.
const fewFlows = 4096

// trackedFlows is the number of flows in the caller's namespace. Not to know it
// is not worth an error.
func trackedFlows() (count int, known bool) {
	b, err := os.ReadFile("/proc/sys/net/netfilter/nf_conntrack_count")
	if err != nil {
		return 0, false
	}
	count, err = strconv.Atoi(strings.TrimSpace(string(b)))
	return count, err == nil
}

// listFlows lists once: a flow that a busy table hides from the list has sent
// no packet since, or is another one by now.
func listFlows(nl *netlink.Conn, w walk) ([]trackedFlow, error) {
	filter, err := w.filter.attributes()
	if err != nil {
		return nil, err
	}
	messages, err := conntrackRequest(nl, w.family, ctGet, netlink.Dump, filter)
	if err != nil {
		return nil, err
	}
	var flows []trackedFlow
	for _, m := range messages {
		f, err := decodeFlow(m.Data)
		if err != nil {
			return nil, err
		}
		if w.filter.matches(f) {
			flows = append(flows, f)
		}
	}
	return flows, nil
}

// deleteFlow names the flow by its number as well: one that began later with
// the same addresses stays.
func deleteFlow(nl *netlink.Conn, f trackedFlow) error {
	family := uint8(unix.NFPROTO_IPV4)
	if f.To.Addr().Is6() {
		family = unix.NFPROTO_IPV6
	}
	_, err := conntrackRequest(nl, family, ctDelete, netlink.Acknowledge, f.name)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	return err
}

func conntrackRequest(nl *netlink.Conn, family uint8, kind int, flags netlink.HeaderFlags, attributes []netlink.Attribute) ([]netlink.Message, error) {
	data, err := netlink.MarshalAttributes(attributes)
	if err != nil {
		return nil, err
	}
	return nl.Execute(netlink.Message{
		Header: netlink.Header{
			Type:  netlink.HeaderType(unix.NFNL_SUBSYS_CTNETLINK<<8 | kind),
			Flags: netlink.Request | flags,
		},
		Data: append([]byte{family, unix.NFNETLINK_V0, 0, 0}, data...),
	})
}
