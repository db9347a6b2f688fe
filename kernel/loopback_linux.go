package kernel

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// LoopbackName is what the kernel calls the loopback interface of every
// namespace.
const LoopbackName = "lo"

// loopbackAddresses are what lo gets from the kernel itself when it goes up.
func loopbackAddresses() []netip.Prefix {
	return []netip.Prefix{netip.MustParsePrefix("127.0.0.1/8"), netip.MustParsePrefix("::1/128")}
}

// RaiseLoopback sets the pod's loopback interface up and returns the addresses
// that it has then: 127.0.0.1/8, and ::1/128 unless IPv6 is switched off there.
// It may be called again.
func (n *PodNetns) RaiseLoopback() ([]netip.Prefix, error) {
	lo, err := n.loopback()
	if err != nil {
		return nil, fmt.Errorf("%s in %s: %w", LoopbackName, n.path, err)
	}
	if err := n.podReader.LinkSetUp(lo); err != nil {
		return nil, fmt.Errorf("%s in %s: %w%s", LoopbackName, n.path, err, remedyFor(err))
	}
	var have []netip.Prefix
	for _, p := range loopbackAddresses() {
		a := netlink.Addr{LinkIndex: lo.Attrs().Index, IPNet: ipNet(p), Scope: unix.RT_SCOPE_HOST}
		err := n.podReader.AddrReplace(nil, &a)
		if p.Addr().Is6() && errors.Is(noIPv6(err), ErrNoIPv6) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("address %s on %s in %s: %w%s", p, LoopbackName, n.path, err, remedyFor(err))
		}
		have = append(have, p)
	}
	return have, nil
}

// LowerLoopback sets the pod's loopback interface down.
func (n *PodNetns) LowerLoopback() error {
	lo, err := n.loopback()
	if err == nil {
		err = n.podReader.LinkSetDown(lo)
	}
	if err != nil {
		return fmt.Errorf("%s in %s: %w%s", LoopbackName, n.path, err, remedyFor(err))
	}
	return nil
}

// LoopbackState says whether the pod's loopback interface is up, and its
// addresses.
func (n *PodNetns) LoopbackState() (bool, []netip.Prefix, error) {
	lo, err := n.loopback()
	if err != nil {
		return false, nil, fmt.Errorf("%s in %s: %w", LoopbackName, n.path, err)
	}
	listed, err := n.podReader.AddrList(lo, netlink.FAMILY_ALL)
	if err != nil {
		return false, nil, fmt.Errorf("addresses of %s in %s: %w", LoopbackName, n.path, err)
	}
	var have []netip.Prefix
	for _, a := range listed {
		have = append(have, prefixOf(a.IPNet))
	}
	return lo.Attrs().Flags&net.FlagUp != 0, have, nil
}

// loopback opens the library's sockets, too.
func (n *PodNetns) loopback() (netlink.Link, error) {
	if err := n.openReaders(); err != nil {
		return nil, err
	}
	return n.podReader.LinkByName(LoopbackName)
}
