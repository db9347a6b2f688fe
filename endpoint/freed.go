package endpoint

import (
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"syscall"

	"github.com/ropeway-net/ropeway/statedir"
)

// Freed remembers which addresses pods gave back lately: the node may still
// track flows of theirs, which must not become those of the next pod with the
// address. It is one file of fixed size, a slot for each of 4,096 digests of an
// address, so that neither noting nor asking costs more than three system calls.
// Of two addresses with one slot the later stays. It need not survive a power
// cut, since what the kernel tracks does not either.
type Freed struct {
	Path string
}

const (
	freedSlots = 4096
	slotSize   = 16 // bytes, an address
)

// slot is where an address is noted. IPv4 is noted in IPv6's form.
func slot(a netip.Addr) (offset int64, content [slotSize]byte) {
	content = a.As16()
	h := fnv.New32a()
	_, _ = h.Write(content[:])
	return int64(h.Sum32()%freedSlots) * slotSize, content
}

// Note remembers that a pod has given addresses back.
func (f Freed) Note(addresses []netip.Addr) error {
	if len(addresses) == 0 {
		return nil
	}
	file, err := f.open(os.O_WRONLY | os.O_CREATE)
	if errors.Is(err, fs.ErrNotExist) {
		if err = os.MkdirAll(filepath.Dir(f.Path), 0o755); err == nil {
			file, err = f.open(os.O_WRONLY | os.O_CREATE)
		}
	}
	if err != nil {
		return fmt.Errorf("note freed addresses: %w", err)
	}
	for _, a := range addresses {
		offset, content := slot(a)
		if _, writeErr := file.WriteAt(content[:], offset); writeErr != nil {
			err = errors.Join(err, writeErr)
		}
	}
	return errors.Join(err, file.Close())
}

// Lately returns which of the addresses are noted.
func (f Freed) Lately(addresses []netip.Addr) ([]netip.Addr, error) {
	file, err := f.open(os.O_RDONLY)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look for freed addresses: %w", err)
	}
	defer func() { _ = file.Close() }()
	var noted []netip.Addr
	for _, a := range addresses {
		offset, content := slot(a)
		var have [slotSize]byte
		if n, _ := file.ReadAt(have[:], offset); n == slotSize && have == content {
			noted = append(noted, a)
		}
	}
	return noted, nil
}

// Forget takes back what Note did.
func (f Freed) Forget(addresses []netip.Addr) error {
	file, err := f.open(os.O_WRONLY)
	if err != nil {
		return fmt.Errorf("forget freed addresses: %w", err)
	}
	for _, a := range addresses {
		offset, _ := slot(a)
		if _, writeErr := file.WriteAt(make([]byte, slotSize), offset); writeErr != nil {
			err = errors.Join(err, writeErr)
		}
	}
	return errors.Join(err, file.Close())
}

func (f Freed) open(flags int) (*os.File, error) {
	return statedir.Open(f.Path, flags|syscall.O_NOFOLLOW, 0o600)
}
