package kernel

import (
	"context"
	"encoding/binary"
	"net/netip"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// foundNeighbour is an entry of the neighbour tables or of a forwarding table.
type foundNeighbour struct {
	index int
	state uint16
	ip    netip.Addr
	mac   MAC
	isMAC bool // whether the link-layer address is an Ethernet one
}

func (c *conn) readNeighbours(ctx context.Context, r *reading) error {
	found, err := c.listNeighbours(ctx, "neighbours", netlink.Ndmsg{Family: unix.AF_UNSPEC})
	if err != nil {
		return err
	}
	for _, n := range found {
		name := r.names[n.index]
		if isOwnLink(name) && n.isMAC && n.ip.IsValid() && n.state&netlink.NUD_PERMANENT != 0 {
			r.snapshot.State.Neighbours[NeighbourKey{name, n.ip}] = n.mac
		}
	}
	return nil
}

// readFDB dumps the forwarding table of each own VXLAN device, which is at
// most one unless somebody made another: a dump of all would contain every
// bridge of the node.
func (c *conn) readFDB(ctx context.Context, r *reading) error {
	for _, index := range r.vxlans {
		found, err := c.listNeighbours(ctx, "forwarding entries", netlink.Ndmsg{Family: unix.AF_BRIDGE, Index: uint32(index)})
		if err != nil {
			return err
		}
		for _, n := range found {
			if n.index == index && n.isMAC && n.ip.IsValid() {
				r.snapshot.State.FDB[FDBEntry{r.names[index], n.mac, n.ip}] = struct{}{}
			}
		}
	}
	return nil
}

func (c *conn) listNeighbours(ctx context.Context, what string, msg netlink.Ndmsg) ([]foundNeighbour, error) {
	return dump(ctx, what, func() ([]foundNeighbour, error) {
		req := c.request(unix.RTM_GETNEIGH, unix.NLM_F_DUMP)
		req.AddData(&msg)
		var found []foundNeighbour
		err := req.ExecuteIter(unix.NETLINK_ROUTE, unix.RTM_NEWNEIGH, func(m []byte) bool {
			if len(m) >= unix.SizeofNdMsg {
				found = append(found, parseNeighbour(m))
			}
			return true
		})
		return found, err
	})
}

// parseNeighbour reads a struct ndmsg and the attributes behind it.
func parseNeighbour(m []byte) foundNeighbour {
	n := foundNeighbour{
		index: int(int32(binary.NativeEndian.Uint32(m[4:]))),
		state: binary.NativeEndian.Uint16(m[8:]),
	}
	attrs, err := parseAttributes(m[unix.SizeofNdMsg:])
	if err != nil {
		return n
	}
	for _, a := range attrs {
		switch a.Attr.Type {
		case netlink.NDA_DST:
			n.ip, _ = netip.AddrFromSlice(a.Value)
		case netlink.NDA_LLADDR:
			if n.isMAC = len(a.Value) == len(n.mac); n.isMAC {
				n.mac = MAC(a.Value)
			}
		}
	}
	return n
}

func (a *application) setNeighbour(k NeighbourKey, mac MAC) error {
	msg := netlink.Ndmsg{Family: family(k.IP), State: netlink.NUD_PERMANENT}
	return a.sendNeighbour(unix.RTM_NEWNEIGH, unix.NLM_F_CREATE|unix.NLM_F_REPLACE, k.Link, msg,
		nl.NewRtAttr(netlink.NDA_DST, k.IP.AsSlice()), nl.NewRtAttr(netlink.NDA_LLADDR, mac[:]))
}

func (a *application) deleteNeighbour(k NeighbourKey) error {
	return a.sendNeighbour(unix.RTM_DELNEIGH, 0, k.Link, netlink.Ndmsg{Family: family(k.IP)},
		nl.NewRtAttr(netlink.NDA_DST, k.IP.AsSlice()))
}

func (a *application) setFDB(e FDBEntry) error {
	msg := netlink.Ndmsg{Family: unix.AF_BRIDGE, State: netlink.NUD_PERMANENT, Flags: netlink.NTF_SELF}
	return a.sendNeighbour(unix.RTM_NEWNEIGH, unix.NLM_F_CREATE|unix.NLM_F_REPLACE, e.Link, msg,
		nl.NewRtAttr(netlink.NDA_DST, e.Dst.AsSlice()), nl.NewRtAttr(netlink.NDA_LLADDR, e.MAC[:]))
}

func (a *application) deleteFDB(e FDBEntry) error {
	msg := netlink.Ndmsg{Family: unix.AF_BRIDGE, Flags: netlink.NTF_SELF}
	return a.sendNeighbour(unix.RTM_DELNEIGH, 0, e.Link, msg,
		nl.NewRtAttr(netlink.NDA_DST, e.Dst.AsSlice()), nl.NewRtAttr(netlink.NDA_LLADDR, e.MAC[:]))
}

func (a *application) sendNeighbour(typ, flags int, link string, msg netlink.Ndmsg, attrs ...*nl.RtAttr) error {
	index, err := a.index(link)
	if err != nil {
		return err
	}
	msg.Index = uint32(index)
	req := a.conn.request(typ, flags|unix.NLM_F_ACK)
	req.AddData(&msg)
	for _, attr := range attrs {
		req.AddData(attr)
	}
	_, err = req.Execute(unix.NETLINK_ROUTE, 0)
	return err
}
