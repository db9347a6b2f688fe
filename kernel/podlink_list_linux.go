package kernel

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// aliasPrefix begins the alias of a host end; the network's name follows.
const aliasPrefix = "ropeway network "

// maxAlias is the kernel's bound, without the final nought.
const maxAlias = 255

func aliasOf(network string) string {
	alias := aliasPrefix + network
	return alias[:min(len(alias), maxAlias)]
}

// HostEnd is the host end of a pod link as it is in the kernel.
type HostEnd struct {
	Name      string
	Addresses []netip.Addr // of the pod, by the permanent neighbours; may be none
	alias     string
}

// IsOf says whether the link was made for the network of that name.
func (e HostEnd) IsOf(network string) bool { return e.alias == aliasOf(network) }

// IsNobodys says that the link neither says whose it is nor leads to a pod.
func (e HostEnd) IsNobodys() bool {
	return !strings.HasPrefix(e.alias, aliasPrefix) && len(e.Addresses) == 0
}

// HostEnds returns the host ends of all pod links in the caller's namespace that
// are in use.
func HostEnds(ctx context.Context) ([]HostEnd, error) {
	h, links, err := listLinks(ctx)
	if err != nil {
		return nil, err
	}
	defer h.Close()
	neighbours, err := dump(ctx, "neighbours", func() ([]netlink.Neigh, error) { return h.NeighList(0, netlink.FAMILY_ALL) })
	if err != nil {
		return nil, err
	}
	behind := map[int][]netip.Addr{}
	for _, n := range neighbours {
		if a := fromIP(n.IP); a.IsValid() && n.State&netlink.NUD_PERMANENT != 0 && !a.IsMulticast() {
			behind[n.LinkIndex] = append(behind[n.LinkIndex], a)
		}
	}
	var ends []HostEnd
	for _, l := range links {
		if a := l.Attrs(); isPodLink(a.Name) && a.Group != RetiredGroup {
			ends = append(ends, HostEnd{Name: a.Name, Addresses: behind[a.Index], alias: a.Alias})
		}
	}
	return ends, nil
}

// StrayShapers names the host ends that are not there, or not in use, although the
// device that shapes what comes from their pods is. ADD makes it after the link.
func StrayShapers(ctx context.Context) ([]string, error) {
	h, links, err := listLinks(ctx)
	if err != nil {
		return nil, err
	}
	h.Close()
	inUse := map[string]bool{}
	for _, l := range links {
		inUse[l.Attrs().Name] = l.Attrs().Group != RetiredGroup
	}
	var strays []string
	for name, used := range inUse {
		if used && isShaperLink(name) && !inUse[shapedLink(name)] {
			strays = append(strays, shapedLink(name))
		}
	}
	slices.Sort(strays)
	return strays, nil
}

// listLinks returns the links of the caller's namespace, and the socket, which the
// caller closes.
func listLinks(ctx context.Context) (*netlink.Handle, []netlink.Link, error) {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, nil, fmt.Errorf("open a netlink socket: %w", err)
	}
	links, err := dump(ctx, "links", h.LinkList)
	if err != nil {
		h.Close()
		return nil, nil, err
	}
	return h, links, nil
}
