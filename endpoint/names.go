package endpoint

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/ropeway-net/ropeway/statedir"
)

// File is a record or a claim by its name alone, whatever it holds.
type File struct {
	Path string
	// HostLinks are those that the file can be about: container IDs and
	// interface names may both have the character that parts them.
	HostLinks []string
	Claim     bool // of an ADD that goes on or was killed
}

// Files returns everything in the store that is named as records and claims are.
func (s Store) Files() ([]File, error) {
	names, err := s.names()
	var files []File
	for _, name := range names {
		f := File{Path: filepath.Join(s.Dir, name)}
		name, f.Claim = strings.CutPrefix(strings.TrimSuffix(name, recordSuffix), statedir.TempPrefix)
		f.HostLinks = hostLinksOf(name)
		files = append(files, f)
	}
	return files, err
}

const recordSuffix = ".json"

// names lists the files of records and claims.
func (s Store) names() ([]string, error) {
	entries, err := os.ReadDir(s.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list endpoint records: %w", err)
	}
	var names []string
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), recordSuffix) {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

func hostLinksOf(name string) []string {
	var links []string
	for i, r := range name {
		if id, ifName := name[:i], name[i:]; r == '-' && statedir.IsName(id) && statedir.IsName(ifName[1:]) {
			links = append(links, HostLink(id, ifName[1:]))
		}
	}
	return links
}

// IsDamaged says whether a record cannot be understood. One that is gone is not
// damaged.
func (f File) IsDamaged() bool {
	b, err := statedir.ReadFile(f.Path, mostBytes)
	if err == nil {
		_, err = ParseRecord(b)
	}
	return errors.Is(err, ErrDamaged) || errors.Is(err, statedir.ErrNotPlain)
}

// DropDamaged removes the records that cannot be understood and returns their
// paths. It is for the start of a boot: a power cut has left them torn, and no pod
// with them. A record of this boot is whole before it has its name.
func (s Store) DropDamaged() ([]string, error) {
	files, err := s.Files()
	if err != nil {
		return nil, err
	}
	var dropped []string
	var errs []error
	for _, f := range files {
		if f.Claim || !f.IsDamaged() {
			continue
		}
		if err := statedir.Forget(f.Path); err != nil { // what a power cut brings back the next boot drops
			errs = append(errs, err)
			continue
		}
		dropped = append(dropped, f.Path)
	}
	return dropped, errors.Join(errs...)
}

// Remove deletes the file.
func (f File) Remove() error { return statedir.Remove(f.Path) }
