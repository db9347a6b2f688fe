package ipam

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/ropeway-net/ropeway/statedir"
)

const (
	lockName       = "lock"
	bootName       = "boot_id"
	lastNamePrefix = "last_reserved_ip."
)

// mostLineBytes bounds what is read of a file that holds an address or a boot id.
const mostLineBytes = 128

// directory is a network's directory. What changes it needs the lock.
type directory string

func (d directory) path(name string) string { return filepath.Join(string(d), name) }

// names lists the files, in no order and without looking into them.
func (d directory) names() ([]string, error) {
	f, err := os.Open(string(d))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return f.Readdirnames(-1)
}

// read returns who holds a. It is false when nobody does: there is no file, or
// one that a crash left torn, or something that is no file.
func (d directory) read(a netip.Addr) (Attachment, bool, error) {
	b, err := statedir.ReadFile(d.path(a.String()), maxReservation)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, statedir.ErrNotPlain) {
		return Attachment{}, false, nil
	}
	if err != nil {
		return Attachment{}, false, err
	}
	holder, ok := parseReservation(b)
	return holder, ok, nil
}

// contents is what a directory holds.
type contents struct {
	held []Reservation
	torn []netip.Addr // files that name no container
	temp []string     // files that were being written
}

// scan reads every reservation. One that cannot be read does not hide the
// others: it is named in the error, which comes together with the contents.
func (d directory) scan(ctx context.Context) (contents, error) {
	names, err := d.names()
	if err != nil {
		return contents{}, err
	}
	var c contents
	var errs []error
	for _, name := range names {
		if ctx.Err() != nil {
			return contents{}, fmt.Errorf("read reservations in %s: %w", d, ctx.Err())
		}
		if strings.HasPrefix(name, statedir.TempPrefix) {
			c.temp = append(c.temp, name)
			continue
		}
		a, ok := parseAddressName(name)
		if !ok {
			continue
		}
		holder, ok, err := d.read(a)
		switch {
		case err != nil:
			errs = append(errs, err)
		case ok:
			c.held = append(c.held, Reservation{a, holder})
		default:
			c.torn = append(c.torn, a)
		}
	}
	return c, errors.Join(errs...)
}

// publish makes holder the holder of all addrs or of none, also when the process
// is killed. The lock keeps others away; a link never replaces a file even so.
func (d directory) publish(holder Attachment, addrs []netip.Addr) (err error) {
	var linked []netip.Addr
	temp, err := d.writeTemp(holder)
	defer func() {
		if err != nil && temp != "" {
			_ = os.Remove(d.path(temp))
			err = errors.Join(err, d.remove(linked))
		}
	}()
	if err != nil {
		return err
	}
	for _, a := range addrs {
		if err := os.Link(d.path(temp), d.path(a.String())); err != nil {
			return err
		}
		linked = append(linked, a)
	}
	return os.Remove(d.path(temp))
}

// tempName is where a reservation is written before it gets its names. Under
// the lock there is never more than one.
const tempName = statedir.TempPrefix + "reservation"

// ownMode is the mode of reservations that are stamped with the boot of boot_id.
// What host-local writes beside them can be written to by its owner, and tells
// nothing about its boot.
const ownMode fs.FileMode = 0o400

// writeTemp writes a reservation that has no address yet. The name is returned
// as soon as there is a file, also with an error. The mode comes with the file,
// so that no power cut parts them.
func (d directory) writeTemp(holder Attachment) (name string, err error) {
	create := func() (*os.File, error) {
		return statedir.Open(d.path(tempName), os.O_WRONLY|os.O_CREATE|os.O_EXCL, ownMode)
	}
	f, err := create()
	if errors.Is(err, fs.ErrExist) {
		d.removeTemp([]string{tempName}) // a killed process left it
		f, err = create()
	}
	if err != nil {
		return "", err
	}
	_, err = f.Write(holder.content())
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	return tempName, err
}

// stamped tells whether a reservation belongs to the boot of boot_id. It is
// false for one that host-local wrote since.
func (d directory) stamped(a netip.Addr) (bool, error) {
	info, err := os.Lstat(d.path(a.String()))
	if err != nil {
		return false, err
	}
	return info.Mode().Perm()&0o200 == 0, nil
}

// stamp makes what host-local wrote belong to the boot that boot_id names next.
func (d directory) stamp(a netip.Addr) error {
	if ours, err := d.stamped(a); err != nil || ours {
		return err
	}
	return os.Chmod(d.path(a.String()), ownMode)
}

// sync makes the reservations of addrs durable, and all removals.
func (d directory) sync(addrs []netip.Addr) error {
	for _, a := range addrs {
		f, err := os.Open(d.path(a.String()))
		if err != nil {
			return err
		}
		if err := errors.Join(f.Sync(), f.Close()); err != nil {
			return err
		}
	}
	return statedir.SyncDir(string(d))
}

// remove deletes the reservations of addrs, as many as it can. One that is not
// there is no error.
func (d directory) remove(addrs []netip.Addr) error {
	var errs []error
	for _, a := range addrs {
		if err := os.Remove(d.path(a.String())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// removeTemp deletes what a crash left half written; under the lock nobody is
// writing. A failure is not worth failing for: the next caller tries again.
func (d directory) removeTemp(names []string) {
	for _, name := range names {
		_ = os.Remove(d.path(name))
	}
}

// last is where range set i left off, or the zero address: a missing or damaged
// file only means that the set begins at its front.
func (d directory) last(i int) netip.Addr {
	b, err := statedir.ReadFile(d.path(lastNamePrefix+strconv.Itoa(i)), mostLineBytes)
	if err != nil {
		return netip.Addr{}
	}
	a, err := netip.ParseAddr(strings.TrimSpace(string(b)))
	if err != nil {
		return netip.Addr{}
	}
	return a
}

// setLast writes over what there is: to replace the file would have the disk
// write it first. What a crash leaves in between is a place to begin like any.
func (d directory) setLast(i int, a netip.Addr) error {
	path := d.path(lastNamePrefix + strconv.Itoa(i))
	const flags = os.O_WRONLY | os.O_CREATE | syscall.O_NOFOLLOW
	f, err := statedir.Open(path, flags, 0o600)
	if errors.Is(err, statedir.ErrNotPlain) {
		if err = os.Remove(path); err == nil {
			f, err = statedir.Open(path, flags, 0o600)
		}
	}
	if err != nil {
		return err
	}
	text := a.AppendTo(nil)
	_, err = f.Write(text)
	if err == nil {
		err = shorten(f, int64(len(text)))
	}
	return errors.Join(err, f.Close())
}

// shorten cuts off what is behind a length in bytes.
func shorten(f *os.File, length int64) error {
	info, err := f.Stat()
	if err == nil && info.Size() > length {
		err = f.Truncate(length)
	}
	return err
}

// noBoot is what stands for a boot id that cannot be one, of which no boot is.
const noBoot = "damaged"

// boot returns the boot in which the reservations were made, "" when there is
// no telling.
func (d directory) boot() (string, error) {
	b, err := statedir.ReadFile(d.path(bootName), mostLineBytes)
	if errors.Is(err, statedir.ErrNotPlain) {
		return noBoot, nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	return strings.TrimSpace(string(b)), nil
}
