package ipam

import (
	"context"
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/ropeway-net/ropeway/statedir"
)

func (d directory) allocate(ctx context.Context, cfg Config, holder Attachment) ([]Allocation, error) {
	if !cfg.TrustUnique {
		if err := d.checkUnique(ctx, holder); err != nil {
			return nil, err
		}
	}
	p := picker{dir: d, gateways: cfg.gateways()}
	var given []Allocation
	var addrs []netip.Addr
	for i, set := range cfg.RangeSets {
		a, r, err := p.pick(ctx, i, set, cfg.Requested)
		if err != nil {
			return nil, err
		}
		given = append(given, Allocation{netip.PrefixFrom(a, r.Subnet.Bits()), r.Gateway})
		addrs = append(addrs, a)
	}
	if err := d.remove(p.torn); err != nil {
		return nil, err
	}
	links := holders{d}
	complete := links.areComplete()
	if complete {
		links.set(holder, addrs)
	}
	if err := d.publish(holder, addrs); err != nil {
		return nil, err
	}
	for i, a := range addrs {
		if slices.Contains(cfg.Requested, a) {
			continue // an address asked for does not move the queue
		}
		if err := d.setLast(i, a); err != nil {
			return nil, errors.Join(err, d.remove(addrs))
		}
	}
	if complete {
		links.follow()
	}
	return given, nil
}

// checkUnique refuses a second allocation for one attachment. Where it has read
// every reservation it also frees those that a crash left torn.
func (d directory) checkUnique(ctx context.Context, holder Attachment) error {
	c, err := d.heldBy(ctx, holder)
	if err != nil {
		return err
	}
	if held := addrsOf(c.held, holder); len(held) > 0 {
		return errorf(ErrHeld, "its interface %s already holds %v; delete the attachment first", holder.IfName, held)
	}
	d.removeTemp(c.temp)
	return d.remove(c.torn)
}

// picker chooses addresses, and knows which are taken. It asks for the first few
// of a set one by one, which is all it takes as a rule, then for those that were
// free not long ago, and lists the directory only then.
type picker struct {
	dir      directory
	gateways []netip.Addr
	taken    map[netip.Addr]bool // nil until listed
	torn     []netip.Addr        // files to be removed before the address is given
}

// maxAsked bounds the questions for single names of a set, each a system call.
const maxAsked = 8

// pick chooses an address of set number i.
func (p *picker) pick(ctx context.Context, i int, set RangeSet, requested []netip.Addr) (netip.Addr, Range, error) {
	for _, a := range requested {
		if r, ok := set.Range(a); ok {
			return a, r, p.claim(a)
		}
	}
	if a, r, ok, err := p.next(i, set); ok || err != nil {
		return a, r, err
	}
	if a, r, ok := p.hinted(set); ok {
		return a, r, nil
	}
	return p.search(ctx, set, p.dir.last(i))
}

// next asks for the first few addresses behind the one that was given last. It is
// false when they are all taken.
func (p *picker) next(i int, set RangeSet) (netip.Addr, Range, bool, error) {
	asked := 0
	for a, r := range set.after(p.dir.last(i)) {
		if asked == maxAsked {
			break
		}
		if slices.Contains(p.gateways, a) {
			continue
		}
		asked++
		taken, err := p.isTaken(a)
		if err != nil || !taken {
			return a, r, err == nil, err
		}
	}
	return netip.Addr{}, Range{}, false, nil
}

// search lists the directory. The set is walked no further than it has taken
// addresses, so that a full /24 and a nearly empty /64 cost alike.
func (p *picker) search(ctx context.Context, set RangeSet, last netip.Addr) (netip.Addr, Range, error) {
	if p.taken == nil {
		if err := p.list(); err != nil {
			return netip.Addr{}, Range{}, err
		}
	}
	for a, r := range set.after(last) {
		if !p.taken[a] && !slices.Contains(p.gateways, a) {
			p.hint(set, a)
			return a, r, nil
		}
	}
	return p.takeOverTorn(ctx, set)
}

// claim makes sure that a requested address is free.
func (p *picker) claim(a netip.Addr) error {
	_, err := os.Lstat(p.dir.path(a.String()))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	holder, ok, err := p.dir.read(a)
	if err != nil {
		return err
	}
	if ok {
		return errorf(ErrTaken, "requested address %s is held by container %s (%s); delete that one first, or ask for another", a, holder.ContainerID, holder.IfName)
	}
	p.torn = append(p.torn, a)
	return nil
}

// isTaken asks for one name, unless all are known already.
func (p *picker) isTaken(a netip.Addr) (bool, error) {
	if p.taken != nil {
		return p.taken[a], nil
	}
	_, err := os.Lstat(p.dir.path(a.String()))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

func (p *picker) list() error {
	names, err := p.dir.names()
	if err != nil {
		return err
	}
	p.taken = make(map[netip.Addr]bool, len(names))
	for _, name := range names {
		if a, ok := parseAddressName(name); ok {
			p.taken[a] = true
		}
		if strings.HasPrefix(name, statedir.TempPrefix) {
			p.dir.removeTemp([]string{name})
		}
	}
	return nil
}

// takeOverTorn is for a set that seems full: only now is it worth reading every
// reservation, to find one that belongs to nobody.
func (p *picker) takeOverTorn(ctx context.Context, set RangeSet) (netip.Addr, Range, error) {
	c, err := p.dir.scan(ctx)
	if err != nil {
		return netip.Addr{}, Range{}, err
	}
	for _, a := range c.torn {
		if r, ok := set.Range(a); ok && !slices.Contains(p.gateways, a) {
			p.torn = append(p.torn, a)
			return a, r, nil
		}
	}
	total := set.total(p.gateways)
	return netip.Addr{}, Range{}, errFull(set, total, total)
}

func errFull(set RangeSet, used, total uint64) error {
	return errorf(ErrFull, "%s is full (%d of %d in use); delete pods or widen the range; see: ropewayctl ipam ls", set, used, total)
}

// total counts the addresses that pods can have, at most MaxUint64.
func (s RangeSet) total(gateways []netip.Addr) uint64 {
	var sum uint64
	for _, r := range s {
		n := r.size()
		for _, g := range gateways {
			if r.Contains(g) && n != ^uint64(0) {
				n--
			}
		}
		if sum+n < sum {
			return ^uint64(0)
		}
		sum += n
	}
	return sum
}
