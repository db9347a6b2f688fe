package kernel

import (
	"context"
	"errors"
	"fmt"
	"os"
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

func forgetUDP(ctx context.Context, ns netns.NsHandle, match func(Flow) bool) (forgotten int, err error) {
	config := &netlink.Config{}
	if ns.IsOpen() {
		config.NetNS = int(ns)
	}
	nl, err := netlink.Dial(unix.NETLINK_NETFILTER, config)
	if err != nil {
		return 0, fmt.Errorf("forget UDP flows: %w", err)
	}
	defer func() { _ = nl.Close() }()
	_ = nl.SetReadBuffer(receiveBuffer) // smaller without privilege
	stop := context.AfterFunc(ctx, func() { _ = nl.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	for _, family := range walks(ns) {
		flows, err := listUDP(nl, family)
		if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EINVAL) {
			return forgotten, nil // without CONFIG_NF_CT_NETLINK
		}
		if err != nil {
			return forgotten, fmt.Errorf("list UDP flows: %w", errors.Join(err, ctx.Err()))
		}
		for _, f := range flows {
			if !match(f.Flow) {
				continue
			}
			if err := deleteFlow(nl, f); err != nil {
				return forgotten, fmt.Errorf("forget the UDP flow to %s: %w", f.To, errors.Join(err, ctx.Err()))
			}
			forgotten++
		}
	}
	return forgotten, nil
}

// fewFlows is up to which number it costs less to read all flows than to look
// at the whole table a second time, which takes 10 ms on a large machine.
const fewFlows = 4096

// walks are the lists that are needed to see all UDP flows: the kernel filters
// them for one family at a time only. Counting is not worth an error.
func walks(ns netns.NsHandle) []uint8 {
	if !ns.IsOpen() {
		b, err := os.ReadFile("/proc/sys/net/netfilter/nf_conntrack_count")
		count, notANumber := strconv.Atoi(strings.TrimSpace(string(b)))
		switch {
		case err != nil || notANumber != nil:
		case count == 0:
			return nil
		case count <= fewFlows:
			return []uint8{unix.NFPROTO_UNSPEC}
		}
	}
	return []uint8{unix.NFPROTO_IPV4, unix.NFPROTO_IPV6}
}

// listUDP lists once: a flow that a busy table hides from the list has sent no
// packet since, or is another one by now.
func listUDP(nl *netlink.Conn, family uint8) ([]trackedFlow, error) {
	var filter []netlink.Attribute
	if family != unix.NFPROTO_UNSPEC {
		var err error
		if filter, err = onlyUDP(); err != nil {
			return nil, err
		}
	}
	messages, err := conntrackRequest(nl, family, ctGet, netlink.Dump, filter)
	if err != nil {
		return nil, err
	}
	var flows []trackedFlow
	for _, m := range messages {
		f, err := decodeFlow(m.Data)
		if err != nil {
			return nil, err
		}
		if f.protocol == UDP {
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
