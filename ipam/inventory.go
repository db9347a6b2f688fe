package ipam

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/ropeway-net/ropeway/statedir"
)

// Entry is what stands under the name of an address in a network's directory.
type Entry struct {
	Reservation
	// Damage says why the file names no container; empty for a reservation.
	Damage   string
	Modified time.Time
	// Stale says that an earlier boot made it, and that it does not count.
	Stale bool
}

// Inventory is all that a network's directory holds, for the eyes of people.
type Inventory struct {
	// Boot is the boot that the directory is stamped with; empty when only
	// host-local has ever written to it.
	Boot    string
	Entries []Entry  // sorted by address
	Strays  []string // names of files that no allocator writes, sorted
}

// Inventory lists the directory, with what is damaged or of an earlier boot. A
// file that cannot be read does not hide the others: it is named in the error.
// It takes no lock.
func (s *Store) Inventory(ctx context.Context) (Inventory, error) {
	var v Inventory
	names, err := s.dir.names()
	if errors.Is(err, fs.ErrNotExist) {
		return v, nil
	}
	if err != nil {
		return v, fmt.Errorf("list reservations: %w", statedir.Explain(err))
	}
	if v.Boot, err = s.dir.boot(); err != nil {
		return v, statedir.Explain(err)
	}
	var errs []error
	for _, name := range names {
		if ctx.Err() != nil {
			return v, fmt.Errorf("read reservations in %s: %w", s.dir, ctx.Err())
		}
		a, ok := parseAddressName(name)
		if !ok {
			if !ownName(name) {
				v.Strays = append(v.Strays, name)
			}
			continue
		}
		e, err := s.dir.entry(a)
		if err == nil {
			e.Stale = s.boot != "" && v.Boot != "" && v.Boot != s.boot && s.dir.isStale(a)
			v.Entries = append(v.Entries, e)
		} else if !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	slices.Sort(v.Strays)
	slices.SortFunc(v.Entries, func(a, b Entry) int { return a.Address.Compare(b.Address) })
	return v, statedir.Explain(errors.Join(errs...))
}

// ownName tells whether name is one of the files that always may be there.
func ownName(name string) bool {
	return name == lockName || name == bootName ||
		strings.HasPrefix(name, lastNamePrefix) || strings.HasPrefix(name, statedir.TempPrefix)
}

// entry reads one file, or fails with fs.ErrNotExist.
func (d directory) entry(a netip.Addr) (Entry, error) {
	e := Entry{Reservation: Reservation{Address: a}}
	info, err := os.Lstat(d.path(a.String()))
	if err != nil {
		return e, err
	}
	e.Modified = info.ModTime()
	if !info.Mode().IsRegular() {
		e.Damage = "no regular file"
		return e, nil
	}
	holder, ok, err := d.read(a)
	switch {
	case err != nil:
		return e, err
	case ok:
		e.Attachment = holder
	case info.Size() == 0:
		e.Damage = "empty"
	default:
		e.Damage = "names no container"
	}
	return e, nil
}

// Still tells whether the file is as it was listed: not gone, nor given to
// somebody else.
func (s *Store) Still(e Entry) bool { return s.dir.still(e) }

func (d directory) still(e Entry) bool {
	now, err := d.entry(e.Address)
	return err == nil && now.Reservation == e.Reservation && now.Damage == e.Damage && now.Modified.Equal(e.Modified)
}

// Drop removes, under the lock, those of entries that still are as they were
// listed and of which unused says so; it returns what it removed. What done
// does comes after them, under the lock too, so that nobody can be given the
// addresses before.
func (s *Store) Drop(ctx context.Context, entries []Entry, unused func(Entry) bool, done func([]Entry) error) ([]Entry, error) {
	var dropped []Entry
	err := s.locked(ctx, func(d directory) error {
		var chosen []netip.Addr
		for _, e := range entries {
			if d.still(e) && unused(e) {
				dropped = append(dropped, e)
				chosen = append(chosen, e.Address)
			}
		}
		if err := d.remove(chosen); err != nil {
			dropped = nil
			return err
		}
		return done(dropped)
	})
	if err != nil {
		err = fmt.Errorf("free addresses: %w", err)
	}
	return dropped, err
}
