package scenarios

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/ropeway-net/ropeway/daemon/topology"
	"github.com/ropeway-net/ropeway/integration/lab"
)

func hostileCommands() map[string]command {
	return map[string]command{"spoof": spoof, "stranger": stranger}
}

// spoof POD TO as WHO: TO hears nothing of what POD sends with WHO's address as
// the source; WHO may be `free`, an address of the pod's own node that nobody
// holds. An honest packet sent last shows that the way was open.
func spoof(ctx context.Context, w *world, args []string) (string, error) {
	if err := want(args, "spoof POD TO as WHO", 4, 4); err != nil {
		return "", err
	}
	hosts, err := w.hosts(args[0], args[1])
	if err != nil {
		return "", err
	}
	pod, to := hosts[0], hosts[1]
	return "", eachFamily(pod, to, func(family lab.Families, own, dst netip.Addr) error {
		pretended, err := w.falseSource(args[3], pod, family)
		if err != nil {
			return err
		}
		inbox, err := to.OpenInbox(ctx, netip.AddrPortFrom(dst, 0))
		if err != nil {
			return err
		}
		defer inbox.Close()
		for range 3 {
			packet := lab.UDPPacket(netip.AddrPortFrom(pretended, 9), inbox.Addr, []byte("lie"))
			if err := pod.SendRaw(ctx, packet); err != nil {
				return err
			}
		}
		return expectOnlyHonest(ctx, inbox, pod.Namespace, own)
	})
}

// falseSource is an address that a liar pretends to have.
func (w *world) falseSource(who string, pod host, family lab.Families) (netip.Addr, error) {
	if who == "free" {
		own, _ := pod.address(family)
		b := own.AsSlice()
		b[len(b)-1] = 250
		free, _ := netip.AddrFromSlice(b)
		return free, nil
	}
	h, err := w.host(who)
	if err != nil {
		return netip.Addr{}, err
	}
	a, ok := h.address(family)
	if !ok {
		return netip.Addr{}, fmt.Errorf("%s has no %s address", who, family)
	}
	return a, nil
}

// expectOnlyHonest sends an honest packet and expects that it is the first to
// arrive, everything before having been dropped.
func expectOnlyHonest(ctx context.Context, inbox *lab.Inbox, from *lab.Namespace, source netip.Addr) error {
	truth := rand.Text()
	if err := from.SendUDP(ctx, source, inbox.Addr, truth); err != nil {
		return err
	}
	letter, ok := inbox.Wait(patience)
	switch {
	case !ok:
		return errors.New("not even an honest packet arrived")
	case letter.Payload != truth:
		return fmt.Errorf("heard %q, apparently from %s", letter.Payload, letter.From)
	}
	return nil
}

// stranger FROM NODE POD: a tunnel packet that FROM, which is no node, sends to
// NODE with a packet for POD inside is not delivered.
func stranger(ctx context.Context, w *world, args []string) (string, error) {
	if err := want(args, "stranger FROM NODE POD", 3, 3); err != nil {
		return "", err
	}
	hosts, err := w.hosts(args...)
	if err != nil {
		return "", err
	}
	from, node, pod := hosts[0], hosts[1], hosts[2]
	underlay := lab.IPv4
	if w.Underlay == lab.DualIPv6 {
		underlay = lab.IPv6
	}
	src, srcOK := from.address(underlay)
	outer, dstOK := node.address(underlay)
	if !srcOK || !dstOK {
		return "", fmt.Errorf("%s and %s have no %s underlay in common", from.name, node.name, underlay)
	}
	honest, err := w.node(node.name)
	if err != nil {
		return "", err
	}
	// The inner source is plausible: the other node's pods are expected from
	// the tunnel.
	return "", eachFamily(w.remotePod(honest), pod, func(_ lab.Families, inner, dst netip.Addr) error {
		inbox, err := pod.OpenInbox(ctx, netip.AddrPortFrom(dst, 0))
		if err != nil {
			return err
		}
		defer inbox.Close()
		packet := lab.UDPPacket(netip.AddrPortFrom(inner, 9), inbox.Addr, []byte("lie"))
		for _, wrapped := range w.wrap(honest, src, outer, packet) {
			if err := from.SendRaw(ctx, wrapped); err != nil {
				return err
			}
		}
		// Whatever the node delivers of it has been delivered once a packet
		// that took the same wire afterwards has.
		if err := w.flush(ctx, from, node, outer); err != nil {
			return err
		}
		return expectOnlyHonest(ctx, inbox, honest.Namespace, netip.Addr{})
	})
}

// remotePod is some pod of another node.
func (w *world) remotePod(than *lab.Node) host {
	for _, p := range w.lab.Pods() {
		if p.Node != than {
			return host{p.Namespace, p.Name, p.Addresses}
		}
	}
	return host{name: "a pod of another node"}
}

// wrap puts a packet into each tunnel header that the mode knows.
func (w *world) wrap(node *lab.Node, src, dst netip.Addr, inner []byte) [][]byte {
	switch w.Mode {
	case topology.IPIP, topology.IPIPCrossSubnet:
		return [][]byte{lab.TunnelPacket(src, dst, inner)}
	default:
		// In direct mode nobody listens; that must hold, too.
		mac := [6]byte{2}
		_ = node.Netlink(func(h *netlink.Handle) error {
			link, err := h.LinkByName("ropeway-vxlan")
			if err == nil {
				copy(mac[:], link.Attrs().HardwareAddr)
			}
			return err
		})
		return [][]byte{lab.VXLANPacket(src, netip.AddrPortFrom(dst, 4789), 114, mac, inner)}
	}
}

// flush sends a packet from one host to another's own address and waits for it.
func (w *world) flush(ctx context.Context, from, to host, dst netip.Addr) error {
	inbox, err := to.OpenInbox(ctx, netip.AddrPortFrom(dst, 0))
	if err != nil {
		return err
	}
	defer inbox.Close()
	if err := from.SendUDP(ctx, netip.Addr{}, inbox.Addr, "flush"); err != nil {
		return err
	}
	if _, ok := inbox.Wait(5 * time.Second); !ok {
		return fmt.Errorf("%s does not hear %s at all", to.name, from.name)
	}
	return nil
}
