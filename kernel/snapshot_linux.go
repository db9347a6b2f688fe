package kernel

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// dumpAttempts bounds how often a dump is repeated that changes interrupted.
// Links of hundreds of pods may be made while one is read.
const dumpAttempts = 30

// dump calls list until the kernel says that nothing changed meanwhile.
func dump[T any](ctx context.Context, what string, list func() (T, error)) (T, error) {
	var none T
	for range dumpAttempts {
		if err := ctx.Err(); err != nil {
			return none, fmt.Errorf("list %s: %w", what, err)
		}
		found, err := list()
		if err == nil {
			return found, nil
		}
		if !errors.Is(err, netlink.ErrDumpInterrupted) {
			return none, fmt.Errorf("list %s: %w", what, err)
		}
	}
	return none, fmt.Errorf("list %s: they changed each of the %d times that they were read; try again", what, dumpAttempts)
}

// reading is a snapshot being taken.
type reading struct {
	snapshot   Snapshot
	names      map[int]string // of all links, by index
	interfaces map[int]*Interface
	vxlans     []int // indexes of own VXLAN devices
	// below are the interfaces that one is made of: the members of a bond, the
	// device of a VLAN.
	below   map[int][]int
	shapers shaperReading
}

// Snapshot implements [Kernel].
func (c *conn) Snapshot(ctx context.Context) (Snapshot, error) {
	r := &reading{
		snapshot:   Snapshot{State: newState(), PodLinks: map[string]Admin{}},
		names:      map[int]string{},
		interfaces: map[int]*Interface{},
		below:      map[int][]int{},
		shapers:    newShaperReading(),
	}
	for _, read := range []func(context.Context, *reading) error{
		c.readLinks, c.readOffloads, c.readAddresses, c.readAdvertised, c.readRoutes, c.readNeighbours, c.readFDB, c.readTable, c.readShapers, c.readPodLinks, c.readSysctls, c.readFirewalls,
	} {
		if err := read(ctx, r); err != nil {
			return Snapshot{}, err
		}
	}
	for _, i := range r.interfaces {
		r.snapshot.Interfaces = append(r.snapshot.Interfaces, *i)
	}
	slices.SortFunc(r.snapshot.Interfaces, func(a, b Interface) int { return cmp.Compare(a.Name, b.Name) })
	return r.snapshot, nil
}

func (c *conn) readLinks(ctx context.Context, r *reading) error {
	links, err := dump(ctx, "links", c.handle.LinkList)
	if err != nil {
		return err
	}
	for _, l := range links {
		a := l.Attrs()
		r.names[a.Index] = a.Name
		up := a.Flags&net.FlagUp != 0
		switch {
		case isTunnelLink(a.Name):
			link := tunnelLink(l)
			r.snapshot.State.Links[a.Name] = link
			if link.Kind == VXLAN {
				r.vxlans = append(r.vxlans, a.Index)
			}
		case isPodLink(a.Name), isShaperLink(a.Name): // see readPodLinks and readShapers
			r.shapers.take(l)
		default:
			kind := l.Type()
			if kind == "device" { // the library's word for no kind
				kind = ""
			}
			r.interfaces[a.Index] = &Interface{Name: a.Name, Kind: kind, MTU: a.MTU, Up: up}
			if a.MasterIndex != 0 {
				r.below[a.MasterIndex] = append(r.below[a.MasterIndex], a.Index)
			}
			if kind == "vlan" || kind == "macvlan" || kind == "ipvlan" {
				r.below[a.Index] = append(r.below[a.Index], a.ParentIndex)
			}
		}
	}
	return nil
}

func (c *conn) readTable(ctx context.Context, r *reading) error {
	t, err := openTableConn(ctx, c.ns, sendBuffer)
	if err != nil {
		return fmt.Errorf("read nftables table inet %s: %w", TableName, err)
	}
	defer t.close()
	t.memory = &c.tables
	r.snapshot.State.Table, err = t.settled(ctx)
	return err
}

// readPodLinks runs after routes, neighbours and the table have been read: a
// pod that is being attached meanwhile must not appear with its routes and host
// ports but without its link, for they would be taken for leftovers. Nor do
// those of a pod appear lost that is being detached: its link goes first.
func (c *conn) readPodLinks(ctx context.Context, r *reading) error {
	links, err := dump(ctx, "links", c.handle.LinkList)
	if err != nil {
		return err
	}
	for _, l := range links {
		a := l.Attrs()
		switch {
		case !isPodLink(a.Name), a.Group == RetiredGroup:
		case a.Flags&net.FlagUp != 0:
			r.snapshot.PodLinks[a.Name] = AdminUp
		default:
			r.snapshot.PodLinks[a.Name] = AdminDown
		}
	}
	return nil
}

// readAddresses leaves out what the kernel itself gives to tunnel devices:
// link-local addresses and, on a sit device, the IPv4-compatible one.
func (c *conn) readAddresses(ctx context.Context, r *reading) error {
	addresses, err := dump(ctx, "addresses", func() ([]netlink.Addr, error) {
		return c.handle.AddrList(nil, netlink.FAMILY_ALL)
	})
	if err != nil {
		return err
	}
	for _, a := range addresses {
		p := prefixOf(a.IPNet)
		if !p.IsValid() {
			continue
		}
		if i, ok := r.interfaces[a.LinkIndex]; ok {
			i.Addresses = append(i.Addresses, p)
			i.Advertised = i.Advertised || isAdvertised(a, p)
			continue
		}
		if name := r.names[a.LinkIndex]; isTunnelLink(name) && !p.Addr().IsLinkLocalUnicast() && !isCompatible(p.Addr()) {
			r.snapshot.State.Addresses[Address{name, p}] = struct{}{}
		}
	}
	return nil
}

// isAdvertised says whether an address has been made from a router
// advertisement: it is global and ends some day.
func isAdvertised(a netlink.Addr, p netip.Prefix) bool {
	return p.Addr().Is6() && !p.Addr().IsLinkLocalUnicast() && a.Flags&unix.IFA_F_PERMANENT == 0
}

// isCompatible says whether an address is of the form ::a.b.c.d.
func isCompatible(a netip.Addr) bool {
	b := a.As16()
	return a.Is6() && !a.Is4In6() && [12]byte(b[:12]) == [12]byte{}
}

// prefixOf converts an address with its mask, host bits and all.
func prefixOf(n *net.IPNet) netip.Prefix {
	if n == nil {
		return netip.Prefix{}
	}
	ip, _ := netip.AddrFromSlice(n.IP)
	ones, _ := n.Mask.Size()
	return netip.PrefixFrom(ip.Unmap(), ones)
}
