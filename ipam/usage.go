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

// List returns all reservations that count, sorted by address. One that cannot
// be read does not hide the others: it is named in the error. It takes no lock.
func (s *Store) List(ctx context.Context) ([]Reservation, error) {
	age, err := s.age()
	if err != nil || age == noDirectory {
		return nil, err
	}
	c, err := s.dir.scan(ctx)
	if age == anotherBoot {
		c.held = slices.DeleteFunc(c.held, func(r Reservation) bool { return s.dir.isStale(r.Address) })
	}
	slices.SortFunc(c.held, func(a, b Reservation) int { return a.Address.Compare(b.Address) })
	if err != nil {
		err = fmt.Errorf("list reservations: %w", statedir.Explain(err))
	}
	return c.held, err
}

// Usage counts what each range set of cfg has given out. It takes no lock.
func (s *Store) Usage(ctx context.Context, cfg Config) ([]Usage, error) {
	age, err := s.age()
	if err != nil {
		return nil, err
	}
	gateways := cfg.gateways()
	usage := make([]Usage, len(cfg.RangeSets))
	for i, set := range cfg.RangeSets {
		usage[i] = Usage{RangeSet: set, Total: set.total(gateways)}
	}
	if age == noDirectory {
		return usage, nil
	}
	var taken []netip.Addr
	if age == currentBoot {
		var names []string
		if names, err = s.dir.names(); err != nil {
			return nil, fmt.Errorf("count reservations: %w", statedir.Explain(err))
		}
		for _, name := range names {
			if a, ok := parseAddressName(name); ok && !slices.Contains(gateways, a) {
				taken = append(taken, a)
			}
		}
		count(usage, taken)
		if !slices.ContainsFunc(usage, Usage.Full) {
			return usage, nil
		}
	}
	// Files that a crash left torn do not make a set full, nor those that do not
	// count; reading tells.
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
	age, err := s.age()
	if err != nil {
		return err
	}
	if age == noDirectory {
		return errorf(ErrMissing, "container %s has no reservation, for there is no %s; restart the pod", containerID, s.dir)
	}
	if len(addrs) == 0 {
		c, err := s.dir.scan(ctx)
		addrs = addrsOf(c.held, holder)
		if len(addrs) == 0 && err == nil {
			err = errorf(ErrMissing, "container %s (%s) has no reservation in %s; restart the pod", containerID, ifName, s.dir)
		}
		if len(addrs) == 0 {
			return statedir.Explain(err)
		}
	}
	for _, a := range addrs {
		if err := s.dir.check(holder, a); err != nil {
			return statedir.Explain(err)
		}
		if age == anotherBoot && s.dir.isStale(a) {
			return errorf(ErrMissing, "address %s of container %s was reserved before the machine started; restart the pod", a, containerID)
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
	if age, err := s.age(); err == nil && age == currentBoot && s.dir.hasSpare(cfg) {
		return nil
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

// hasSpare is true when an address of each set that comes next is free, as is
// the rule; else only counting tells. It spares a runtime that asks every few
// seconds the reading of a large directory.
func (d directory) hasSpare(cfg Config) bool {
	p := picker{dir: d, gateways: cfg.gateways()}
	for i, set := range cfg.RangeSets {
		if _, _, ok, err := p.next(i, set); !ok || err != nil {
			return false
		}
	}
	return true
}

// Writable tells whether reservations can be made: that the lock comes free
// and that the directory takes a file. It leaves the directory made.
func (s *Store) Writable(ctx context.Context) error {
	return s.lockedMade(ctx, func(d directory) error {
		// With one name for all, who is killed leaves no more than one file.
		f, err := os.OpenFile(d.path(statedir.TempPrefix+"writable"), os.O_WRONLY|os.O_CREATE, 0o600)
		if err != nil {
			return err
		}
		_, err = f.WriteString("ok\n")
		return errors.Join(err, f.Close(), os.Remove(f.Name()))
	})
}

// age is what a directory's reservations are of.
type age int

const (
	currentBoot age = iota // they count
	anotherBoot            // those that are stamped do not
	noDirectory            // there are none
)

// age compares the directory's stamp with the running boot.
func (s *Store) age() (age, error) {
	if _, err := os.Stat(string(s.dir)); errors.Is(err, fs.ErrNotExist) {
		return noDirectory, nil
	}
	made, err := s.dir.boot()
	if err != nil {
		return noDirectory, statedir.Explain(err)
	}
	if s.boot == "" || made == "" || made == s.boot {
		return currentBoot, nil
	}
	return anotherBoot, nil
}

// isStale tells whether a reservation in a directory of another boot does not
// count. One that is gone does not either.
func (d directory) isStale(a netip.Addr) bool {
	stamped, err := d.stamped(a)
	return stamped || err != nil
}
