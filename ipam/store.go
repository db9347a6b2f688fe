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

// Store is the reservations of one network on this node. Processes and
// goroutines may use the same directory at once.
type Store struct {
	dir  directory
	boot string
}

// Open returns the store in dir, which is [Config.Dir] or what [ParseDir]
// finds; it touches nothing yet. bootID is the running boot: reservations that
// another boot made do not count, and the first call that changes anything
// removes them. With an empty bootID all reservations count.
func Open(dir string, bootID string) *Store {
	return &Store{directory(dir), bootID}
}

// Allocation is an address given to an attachment.
type Allocation struct {
	Address netip.Prefix // the address with the length of its subnet
	Gateway netip.Addr
}

// Allocate gives the attachment one address of each range set, or none at all.
// Each is the one asked for, or else the next free one after that given last.
//
// Errors are of class [ErrFull], [ErrTaken], [ErrHeld], [ErrLocked] or
// [ErrEnvironment], or come from the filesystem.
func (s *Store) Allocate(ctx context.Context, cfg Config, containerID, ifName string) ([]Allocation, error) {
	holder := Attachment{containerID, ifName}
	if err := holder.validate(); err != nil {
		return nil, err
	}
	if len(cfg.RangeSets) == 0 {
		return nil, errorf(ErrNoRange, "allocate address for container %s: no range is configured", containerID)
	}
	var given []Allocation
	err := s.lockedMade(ctx, func(d directory) (err error) {
		if err = s.enterBoot(ctx); err != nil {
			return err
		}
		if given, err = d.allocate(ctx, cfg, holder); err != nil {
			return err
		}
		addrs := addressesOf(given)
		if err = s.settle(addrs); err != nil {
			given, err = nil, errors.Join(err, d.remove(addrs))
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("allocate address for container %s: %w", containerID, err)
	}
	return given, nil
}

// Release gives back what the attachment holds and returns it. Nothing held is
// no error. With hint, the addresses that the attachment is known to have had,
// only these are looked at; without, every reservation is, unless the attachment's
// can be found.
func (s *Store) Release(ctx context.Context, containerID, ifName string, hint ...netip.Addr) ([]netip.Addr, error) {
	holder := Attachment{containerID, ifName}
	var released []netip.Addr
	err := s.locked(ctx, func(d directory) error {
		// A full disk must not keep anybody from making room.
		if err := s.enterBoot(ctx); err != nil && !errors.Is(err, errBootNotWritten) {
			return err
		}
		c, err := d.contentsFor(ctx, holder, hint)
		d.removeTemp(c.temp) // a killed ADD left it, of this attachment perhaps
		held := addrsOf(c.held, holder)
		if len(held) > 0 {
			// A file beside them that is damaged is not ours to report.
			err = errors.Join(d.remove(held), s.settle(nil))
			d.addHints(held)
			holders{d}.forget(holder)
		}
		if err == nil {
			released = held
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("release addresses of container %s: %w", containerID, err)
	}
	return released, nil
}

// GC removes every reservation whose attachment is not in keep, and what
// crashes left, and returns what it removed. It goes on after errors.
func (s *Store) GC(ctx context.Context, keep []Attachment) ([]Reservation, error) {
	kept := make(map[Attachment]bool, 2*len(keep))
	for _, a := range keep {
		kept[a] = true
		kept[Attachment{ContainerID: a.ContainerID}] = true // as old host-local wrote it
	}
	var removed []Reservation
	err := s.locked(ctx, func(d directory) error {
		if err := s.enterBoot(ctx); err != nil && !errors.Is(err, errBootNotWritten) {
			return err
		}
		c, err := d.scan(ctx)
		stale := c.torn
		for _, r := range c.held {
			if !kept[r.Attachment] {
				removed = append(removed, r)
				stale = append(stale, r.Address)
			}
		}
		d.removeTemp(c.temp)
		holders{d}.drop() // who needs it makes it anew
		return errors.Join(err, d.remove(stale), s.settle(nil))
	})
	if err != nil {
		err = fmt.Errorf("remove stale reservations: %w", err)
	}
	return removed, err
}

// lockedMade is locked in a directory that is made if need be.
func (s *Store) lockedMade(ctx context.Context, change func(directory) error) error {
	if err := os.MkdirAll(string(s.dir), 0o755); err != nil {
		return statedir.Explain(err)
	}
	return s.locked(ctx, change)
}

// locked runs change while no other process changes the directory. Where there
// is none, there is nothing to change.
func (s *Store) locked(ctx context.Context, change func(directory) error) error {
	if _, err := os.Stat(string(s.dir)); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	f, err := lock(ctx, string(s.dir))
	if err != nil {
		return statedir.Explain(err)
	}
	defer f.Close()
	return statedir.Explain(change(s.dir))
}

// errBootNotWritten means that the directory holds nothing of another boot, and
// yet is not stamped with this one.
var errBootNotWritten = errors.New("boot id cannot be written")

// enterBoot makes the directory this boot's: it drops what another boot left,
// then says so in boot_id, in that order, so that a crash in between repeats it.
// Reservations that host-local made, before the directory was ever stamped or
// since, may be of any boot. They are kept, and belong to this one from now on.
func (s *Store) enterBoot(ctx context.Context) error {
	if s.boot == "" {
		return nil
	}
	made, err := s.dir.boot()
	if err != nil || made == s.boot {
		return err
	}
	c, err := s.dir.scan(ctx)
	if err != nil {
		return err
	}
	s.dir.removeTemp(c.temp)
	holders{s.dir}.drop()
	kept, stale, err := s.dir.divide(c.held, made)
	if err != nil {
		return err
	}
	for _, a := range kept {
		if err := s.dir.stamp(a); err != nil {
			return err
		}
	}
	if made != "" {
		if err := errors.Join(s.dir.remove(append(stale, c.torn...)), s.dir.sync(nil)); err != nil {
			return err
		}
	}
	if err := statedir.WriteFile(s.dir.path(bootName), []byte(s.boot+"\n")); err != nil {
		return errorf(errBootNotWritten, "%w", err)
	}
	return nil
}

// divide tells which reservations of a directory that another boot stamped
// outlive it, and which do not.
func (d directory) divide(held []Reservation, made string) (kept, stale []netip.Addr, err error) {
	for _, r := range held {
		ours, err := d.stamped(r.Address)
		if err != nil {
			return nil, nil, err
		}
		if ours && made != "" {
			stale = append(stale, r.Address)
		} else {
			kept = append(kept, r.Address)
		}
	}
	return kept, stale, nil
}

// settle makes durable what a call changed, if it must be. With a boot id it
// need not: a power cut ends the boot, and the next one drops every reservation
// of it, torn ones included, because enterBoot has made the stamp durable before
// the first was given. What a killed process leaves is in memory, and whole.
func (s *Store) settle(given []netip.Addr) error {
	if s.boot != "" {
		return nil
	}
	return s.dir.sync(given)
}

func addressesOf(given []Allocation) []netip.Addr {
	var addrs []netip.Addr
	for _, a := range given {
		addrs = append(addrs, a.Address.Addr())
	}
	return addrs
}

// contentsFor reads the reservations of hint or, without, those that are found by
// their holder. When the attachment has none of these it reads all: to leak what
// somebody put there by hand would be worse than to be slow.
func (d directory) contentsFor(ctx context.Context, holder Attachment, hint []netip.Addr) (contents, error) {
	if len(hint) > 0 {
		return d.readEach(hint)
	}
	if h := (holders{d}); h.areComplete() {
		if c, err := d.readEach(h.find(holder)); len(addrsOf(c.held, holder)) > 0 {
			return c, err
		}
	}
	return d.scan(ctx)
}

// readEach reads the reservations of some addresses.
func (d directory) readEach(addrs []netip.Addr) (contents, error) {
	var c contents
	var errs []error
	for _, a := range addrs {
		holder, ok, err := d.read(a)
		if ok {
			c.held = append(c.held, Reservation{a, holder})
		}
		errs = append(errs, err)
	}
	return c, errors.Join(errs...)
}

// addrsOf picks the addresses of holder. Reservations of old host-local name no
// interface; they count when there are no others of the container's interface.
func addrsOf(all []Reservation, holder Attachment) []netip.Addr {
	var exact, legacy []netip.Addr
	for _, r := range all {
		switch r.Attachment {
		case holder:
			exact = append(exact, r.Address)
		case Attachment{ContainerID: holder.ContainerID}:
			legacy = append(legacy, r.Address)
		}
	}
	if len(exact) == 0 {
		exact = legacy
	}
	slices.SortFunc(exact, netip.Addr.Compare)
	return exact
}
