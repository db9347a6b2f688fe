package kernel

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// application is one Apply.
type application struct {
	ctx     context.Context
	conn    *conn
	indexes map[string]int // of links, by name
	// unmade counts operations that could not be tried, by the link whose
	// making has failed: one error for all of them.
	unmade map[string]int
	// lacking counts further links of the kinds that the kernel does not have.
	lacking map[LinkKind]int
	// routes holds the protocol of each route of the main table, by family;
	// read when somebody's route stands in the way.
	routes map[uint8]map[RouteKey]uint8
}

// Apply implements [Kernel].
func (c *conn) Apply(ctx context.Context, plan Plan) error {
	a := &application{
		ctx: ctx, conn: c,
		indexes: map[string]int{}, unmade: map[string]int{}, lacking: map[LinkKind]int{},
		routes: map[uint8]map[RouteKey]uint8{},
	}
	var errs []error
	for _, op := range plan.Ops {
		if err := ctx.Err(); err != nil {
			errs = append(errs, fmt.Errorf("apply plan: %w", err))
			break
		}
		if err := a.try(op); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(append(errs, a.untried()...)...)
}

// untried tells, in few words, what could not be tried: a node may have
// thousands of links of a kind that the kernel lacks.
func (a *application) untried() []error {
	var errs []error
	for kind, n := range a.lacking {
		if n > 0 {
			errs = append(errs, fmt.Errorf("%d more %s links could not be made for the same reason", n, kind))
		}
	}
	const most = 3
	var links []string
	operations := 0
	for _, link := range sortedKeys(a.unmade) {
		if n := a.unmade[link]; n > 0 {
			links = append(links, link)
			operations += n
		}
	}
	if len(links) > most {
		links = append(links[:most], fmt.Sprintf("%d more", len(links)-most))
	}
	if operations > 0 {
		errs = append(errs, fmt.Errorf("%d operations need link %s, which could not be made", operations, strings.Join(links, ", ")))
	}
	return errs
}

// try carries out one operation and explains its failure.
func (a *application) try(op Op) error {
	if _, ok := a.unmade[opLink(op)]; ok {
		a.unmade[opLink(op)]++
		return nil
	}
	add, isAdd := op.(LinkAdd)
	if _, lacks := a.lacking[add.Link.Kind]; isAdd && lacks {
		a.lacking[add.Link.Kind]++
		a.unmade[add.Link.Name] = 0
		return nil
	}
	err := a.do(op)
	if err == nil || isDeletion(op) && isGone(err) || podLinkGone(op, err) || isPodLink(opLink(op)) && errors.Is(err, unix.ENODEV) {
		return nil
	}
	if isAdd {
		if errors.Is(err, unix.EOPNOTSUPP) {
			a.lacking[add.Link.Kind] = 0
		}
		if _, missing := a.index(add.Link.Name); missing != nil {
			a.unmade[add.Link.Name] = 0
		}
	}
	return &OpError{Op: op, Err: err, Remedy: remedy(op, err)}
}

func (a *application) do(op Op) error {
	switch op := op.(type) {
	case SysctlSet:
		return a.setSysctl(op)
	case LinkAdd:
		return a.addLink(op.Link)
	case LinkSet:
		return a.setLink(op)
	case LinkDel:
		return a.deleteLink(op.Name)
	case AddressAdd:
		return a.addAddress(op.Address)
	case AddressDel:
		return a.deleteAddress(op.Address)
	case RouteAdd:
		return a.addRoute(op.RouteKey, op.Route)
	case RouteReplace:
		return a.sendRoute(unix.NLM_F_CREATE|unix.NLM_F_REPLACE, op.RouteKey, op.Route)
	case RouteDel:
		return a.deleteRoute(op)
	case NeighbourReplace:
		return a.setNeighbour(op.NeighbourKey, op.MAC)
	case NeighbourDel:
		return a.deleteNeighbour(op.NeighbourKey)
	case FDBReplace:
		return a.setFDB(op.FDBEntry)
	case FDBDel:
		return a.deleteFDB(op.FDBEntry)
	case ShaperAdd:
		return a.addShaper(op)
	case ShaperSet:
		return a.setBucket(op.ShaperKey, op.Shaper)
	case ShaperDel:
		return a.deleteShaper(op.ShaperKey)
	case TableChange:
		return applyTable(a.ctx, a.conn.ns, op)
	case AdmissionAdd:
		return a.admit(op)
	case AdmissionDel:
		return a.expel(op)
	}
	return fmt.Errorf("unknown operation %T", op)
}

// index returns a link's index. It asks the kernel once for each name, and
// again after the link was made anew.
func (a *application) index(name string) (int, error) {
	if index, ok := a.indexes[name]; ok {
		return index, nil
	}
	link, err := a.conn.handle.LinkByName(name)
	if errors.As(err, &netlink.LinkNotFoundError{}) {
		return 0, fmt.Errorf("%s: %w", name, errLinkMissing)
	}
	if err != nil {
		return 0, fmt.Errorf("look up link %s: %w", name, err)
	}
	a.indexes[name] = link.Attrs().Index
	return link.Attrs().Index, nil
}

func (a *application) addAddress(address Address) error {
	index, err := a.index(address.Link)
	if err != nil {
		return err
	}
	n := &netlink.Addr{IPNet: ipNet(address.Prefix)}
	if address.Prefix.Addr().Is6() {
		n.Flags = unix.IFA_F_NODAD | unix.IFA_F_NOPREFIXROUTE
	}
	err = a.conn.handle.AddrAdd(byIndex(index), n)
	if errors.Is(err, unix.EEXIST) {
		return nil
	}
	return err
}

func (a *application) deleteAddress(address Address) error {
	index, err := a.index(address.Link)
	if err != nil {
		return err
	}
	return a.conn.handle.AddrDel(byIndex(index), &netlink.Addr{IPNet: ipNet(address.Prefix)})
}

// isGone says whether a deletion failed because there is nothing to delete.
func isGone(err error) bool {
	for _, gone := range []error{errLinkMissing, unix.ENOENT, unix.ESRCH, unix.ENODEV, unix.EADDRNOTAVAIL} {
		if errors.Is(err, gone) {
			return true
		}
	}
	return false
}
