package endpoint

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/ropeway-net/ropeway/statedir"
)

// ErrBusy means that another process is attaching the same interface of the
// same container right now.
var ErrBusy = errors.New("it is being attached by another process")

// Claim is an attachment in the making: a locked file beside where its record
// will be. Whoever finds such a file that nobody has locked knows that an ADD
// was killed, and that there may be more of it than its record tells.
type Claim struct {
	store  Store
	path   string // of the claim
	record string // path of the record
	file   *os.File
	// Interrupted says that an earlier claim of the attachment was never
	// released: its ADD was killed, and the kernel or an allocator may hold
	// what no record names. Who has cleared that sets it to false.
	Interrupted bool
}

// Claim begins an attachment, or fails with [ErrBusy]. It lasts until Release
// or the end of the process.
func (s Store) Claim(containerID, ifName string) (*Claim, error) {
	record, err := s.path(containerID, ifName)
	if err != nil {
		return nil, err
	}
	c := &Claim{store: s, record: record, path: claimPath(record)}
	if err = c.open(); errors.Is(err, fs.ErrNotExist) {
		if err = os.MkdirAll(s.Dir, 0o755); err == nil {
			err = c.open()
		}
	}
	if errors.Is(err, fs.ErrExist) {
		err = ErrBusy
	}
	if err != nil {
		return nil, fmt.Errorf("claim the attachment: %w", err)
	}
	return c, nil
}

func claimPath(record string) string {
	return filepath.Join(filepath.Dir(record), statedir.TempPrefix+filepath.Base(record))
}

// open makes the claim's file. One that nobody has locked is removed first,
// and not written into, for it may be the record too.
func (c *Claim) open() error {
	err := c.create()
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	c.Interrupted = true
	left, err := openClaim(c.path)
	switch {
	case errors.Is(err, statedir.ErrNotPlain): // nobody claims with such a thing
	case err != nil:
		return err
	default:
		defer left.Close()
		if err := lockNamed(left, c.path); err != nil {
			return err
		}
	}
	if err := os.Remove(c.path); err != nil {
		return err
	}
	return c.create()
}

func (c *Claim) create() error {
	f, err := statedir.Open(c.path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if err := lockNamed(f, c.path); err != nil {
		_ = f.Close()
		return err
	}
	c.file = f
	return nil
}

func openClaim(path string) (*os.File, error) {
	return statedir.Open(path, os.O_RDONLY|syscall.O_NOFOLLOW, 0)
}

// lockNamed locks f, which must still be what path names.
func lockNamed(f *os.File, path string) error {
	err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return ErrBusy
	}
	if err != nil {
		return &os.PathError{Op: "lock", Path: path, Err: err}
	}
	locked, err := f.Stat()
	if err != nil {
		return err
	}
	if named, err := os.Stat(path); err != nil || !os.SameFile(named, locked) {
		return ErrBusy // it has ended, and another may have begun
	}
	return nil
}

// Write stores the record of the claimed attachment, of which there must be
// none. It is not made durable, for a power cut takes the attachment with it, and
// may leave a damaged record, see [Store.DropDamaged]. Only a record without which
// another IPAM plugin could not be told of that is durable.
func (c *Claim) Write(r Record) error {
	path, err := c.store.path(r.ContainerID, r.IfName)
	if err != nil {
		return err
	}
	if err = r.validate(); err != nil {
		return err
	}
	if path != c.record {
		return fmt.Errorf("%s: the claim is for %s", path, c.record)
	}
	b, err := r.text()
	if err != nil {
		return err
	}
	if _, err := c.file.Write(b); err != nil {
		return err
	}
	if len(r.IPAM.Config) == 0 {
		return os.Link(c.path, c.record)
	}
	if err := c.file.Sync(); err != nil {
		return err
	}
	if err := os.Link(c.path, c.record); err != nil {
		return err
	}
	return statedir.SyncDir(c.store.Dir)
}

// Discard removes the record, of this claim or an earlier one.
func (c *Claim) Discard() error { return statedir.Forget(c.record) }

// Release ends the claim. The record stays if it was written. A claim that is
// still Interrupted leaves its file for the next one to find.
func (c *Claim) Release() error {
	if c.Interrupted {
		return c.file.Close()
	}
	err := os.Remove(c.path)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil // a DEL came meanwhile
	}
	return errors.Join(err, c.file.Close())
}

// Unfinished returns the records of attachments whose ADD was killed before the
// record was in place, and removes claims that do not say whose they are, since
// their ADD cannot have come far. Claims that live are left alone.
func (s Store) Unfinished() ([]Record, error) {
	entries, err := os.ReadDir(s.Dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list claims of attachments: %w", err)
	}
	var records []Record
	var errs []error
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), statedir.TempPrefix) || !strings.HasSuffix(e.Name(), ".json") {
			continue
		}
		path := filepath.Join(s.Dir, e.Name())
		r, err := s.unfinished(path)
		switch {
		case err == nil:
			records = append(records, r)
		case errors.Is(err, ErrDamaged), errors.Is(err, statedir.ErrNotPlain):
			errs = append(errs, statedir.Forget(path))
		case errors.Is(err, fs.ErrNotExist), errors.Is(err, ErrBusy):
		default:
			errs = append(errs, err)
		}
	}
	return records, errors.Join(errs...)
}

func (s Store) unfinished(path string) (Record, error) {
	f, err := openClaim(path)
	if err != nil {
		return Record{}, err
	}
	defer f.Close()
	if err = lockNamed(f, path); err != nil {
		return Record{}, err
	}
	b, err := io.ReadAll(io.LimitReader(f, mostBytes+1))
	if err == nil && len(b) > mostBytes {
		err = fmt.Errorf("%s: %w: it is larger than %d bytes", path, statedir.ErrNotPlain, mostBytes)
	}
	if err != nil {
		return Record{}, err
	}
	r, err := ParseRecord(b)
	if err != nil {
		return Record{}, err
	}
	if record, err := s.path(r.ContainerID, r.IfName); err != nil || claimPath(record) != path {
		return Record{}, fmt.Errorf("%w: it stands in %s", ErrDamaged, path)
	}
	return r, nil
}

// ClaimedSince returns when the attachment was claimed; it is false when nobody
// is attaching it. The claim of a killed ADD looks like a living one, for to try
// its lock could make a living one fail: its age tells.
func (s Store) ClaimedSince(containerID, ifName string) (time.Time, bool) {
	record, err := s.path(containerID, ifName)
	if err != nil {
		return time.Time{}, false
	}
	info, err := os.Lstat(claimPath(record))
	if err != nil {
		return time.Time{}, false
	}
	return info.ModTime(), true
}
