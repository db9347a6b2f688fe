package ipam

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"slices"

	"github.com/ropeway-net/ropeway/statedir"
)

// Usage is how much of a range set is given out.
type Usage struct {
	RangeSet RangeSet
	Used     uint64
	Total    uint64 // addresses that pods can have; MaxUint64 means that many or more, give or take one
}

// Full tells whether nothing is left.
func (u Usage) Full() bool { return u.Used >= u.Total }

// List returns all reservations, sorted by address. One that cannot be read
// does not hide the others: it is named in the error. It takes no lock.
func (s *Store) List(ctx context.Context) ([]Reservation, error) {
	live, err := s.live()
	if err != nil || !live {
		return nil, err
	}
	c, err := s.dir.scan(ctx)
	slices.SortFunc(c.held, func(a, b Reservation) int { return a.Address.Compare(b.Address) })
	if err != nil {
		err = fmt.Errorf("list reservations: %w", statedir.Explain(err))
	}
	return c.held, err
}

// Usage counts what each range set of cfg has given out. It takes no lock.
func (s *Store) Usage(ctx context.Context, cfg Config) ([]Usage, error) {
	live, err := s.live()
	if err != nil {
		return nil, err
	}
	gateways := cfg.gateways()
	usage := make([]Usage, len(cfg.RangeSets))
	for i, set := range cfg.RangeSets {
		usage[i] = Usage{RangeSet: set, Total: set.total(gateways)}
	}
	if !live {
		return usage, nil
	}
	names, err := s.dir.names()
	if err != nil {
		return nil, fmt.Errorf("count reservations: %w", statedir.Explain(err))
	}
	var taken []netip.Addr
	for _, name := range names {
		if a, ok := parseAddressName(name); ok && !slices.Contains(gateways, a) {
			taken = append(taken, a)
		}
	}
	count(usage, taken)
	if !slices.ContainsFunc(usage, Usage.Full) {
		return usage, nil
	}
	// Files that a crash left torn do not make a set full; reading tells.
	all, err := s.List(ctx)
	taken = taken[:0]
	for _, r := range all {
		if !slices.Contains(gateways, r.Address) {
			taken = append(taken, r.Address)
		}
	}
	count(usage, taken)
	return usage, err
}

func count(usage []Usage, taken []netip.Addr) {
	for i := range usage {
		usage[i].Used = 0
		for _, a := range taken {
			if _, ok := usage[i].RangeSet.Range(a); ok {
				usage[i].Used++
			}
		}
	}
}

// Check returns an error of class [ErrMissing] unless the attachment holds all
// of addrs, or anything at all where addrs is empty. It takes no lock.
func (s *Store) Check(ctx context.Context, containerID, ifName string, addrs []netip.Addr) error {
	holder := Attachment{containerID, ifName}
	live, err := s.live()
	if err != nil {
		return err
	}
	if !live {
		return errorf(ErrMissing, "container %s has no reservation in %s since the machine started; restart the pod", containerID, s.dir)
	}
	if len(addrs) == 0 {
		c, err := s.dir.scan(ctx)
		held := addrsOf(c.held, holder)
		if len(held) == 0 && err == nil {
			err = errorf(ErrMissing, "container %s (%s) has no reservation in %s; restart the pod", containerID, ifName, s.dir)
		}
		if len(held) > 0 {
			err = nil
		}
		return statedir.Explain(err)
	}
	for _, a := range addrs {
		if err := s.dir.check(holder, a); err != nil {
			return statedir.Explain(err)
		}
	}
	return nil
}

func (d directory) check(holder Attachment, a netip.Addr) error {
	got, ok, err := d.read(a)
	switch {
	case err != nil:
		return fmt.Errorf("check reservation of %s: %w", a, err)
	case !ok:
		return errorf(ErrMissing, "address %s of container %s is not reserved in %s; restart the pod", a, holder.ContainerID, d)
	case got.ContainerID != holder.ContainerID || got.IfName != "" && got.IfName != holder.IfName:
		return errorf(ErrMissing, "address %s of container %s (%s) is reserved for container %s (%s); restart the pod", a, holder.ContainerID, holder.IfName, got.ContainerID, got.IfName)
	}
	return nil
}

// Ready tells whether an allocation would succeed: [Store.Writable], and an
// address free in each range set; if not, the error is of class [ErrFull].
func (s *Store) Ready(ctx context.Context, cfg Config) error {
	if err := s.Writable(ctx); err != nil {
		return err
	}
	usage, err := s.Usage(ctx, cfg)
	if err != nil {
		return err
	}
	for _, u := range usage {
		if u.Full() {
			return errFull(u.RangeSet, u.Used, u.Total)
		}
	}
	return nil
}

// Writable tells whether reservations can be made: that the lock comes free
// and that the directory takes a file. It leaves the directory made.
func (s *Store) Writable(ctx context.Context) error {
	return s.lockedMade(ctx, func(d directory) error {
		f, err := os.CreateTemp(string(d), statedir.TempPrefix+"*")
		if err != nil {
			return err
		}
		_, err = f.WriteString("ok\n")
		return errors.Join(err, f.Close(), os.Remove(f.Name()))
	})
}

// live tells whether the reservations are of this boot: there are any, and they
// are not waiting to be dropped.
func (s *Store) live() (bool, error) {
	if _, err := os.Stat(string(s.dir)); errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	made, err := s.dir.boot()
	if err != nil {
		return false, statedir.Explain(err)
	}
	return s.boot == "" || made == "" || made == s.boot, nil
}
