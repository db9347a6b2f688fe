package endpoint

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/ropeway-net/ropeway/statedir"
)

// Store is the directory of records, one file <containerID>-<ifname>.json each.
// Different attachments may be written at the same time by different processes.
type Store struct {
	Dir string
}

var (
	// ErrNotFound means that there is no record of the attachment.
	ErrNotFound = errors.New("no endpoint record")
	// ErrDamaged means that the record cannot be understood; what it named
	// can only be searched for.
	ErrDamaged = errors.New("endpoint record is not valid")
	// ErrName means that container ID and interface name cannot be part of a
	// file name.
	ErrName = errors.New("the attachment cannot name an endpoint record")
)

// maxName leaves room for the marks of a temporary file in the 255 bytes that
// file systems allow.
const maxName = 230

// mostBytes bounds what is read of a record: the largest holds a network
// configuration and 1,000 host ports.
const mostBytes = 4 << 20

func (s Store) path(containerID, ifName string) (string, error) {
	name := containerID + "-" + ifName + ".json"
	if !statedir.IsName(containerID) || !statedir.IsName(ifName) || len(name) > maxName {
		return "", fmt.Errorf("container %q with interface %q: %w; use letters, digits, '_', '.' and '-', at most %d in all", containerID, ifName, ErrName, maxName-len("-.json"))
	}
	return filepath.Join(s.Dir, name), nil
}

// Write stores the record durably, replacing an earlier one.
func (s Store) Write(r Record) error {
	path, err := s.path(r.ContainerID, r.IfName)
	if err != nil {
		return err
	}
	if err = r.validate(); err != nil {
		return err
	}
	b, err := r.text()
	if err != nil {
		return err
	}
	return statedir.WriteFile(path, b)
}

// Read returns the record of one attachment, or an error that wraps
// [ErrNotFound].
func (s Store) Read(containerID, ifName string) (Record, error) {
	path, err := s.path(containerID, ifName)
	if err != nil {
		return Record{}, err
	}
	b, err := statedir.ReadFile(path, mostBytes)
	if errors.Is(err, fs.ErrNotExist) {
		return Record{}, fmt.Errorf("%w: %s", ErrNotFound, path)
	}
	if errors.Is(err, statedir.ErrNotPlain) {
		return Record{}, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if err != nil {
		return Record{}, err
	}
	r, err := ParseRecord(b)
	if err == nil && (r.ContainerID != containerID || r.IfName != ifName) {
		// "a-b" with "c" and "a" with "b-c" share a file name.
		err = fmt.Errorf("%w: it is of container %s with interface %s", ErrDamaged, r.ContainerID, r.IfName)
	}
	if err != nil {
		return Record{}, fmt.Errorf("%s: %w", path, err)
	}
	return r, nil
}

// Remove deletes the record and the claim that a killed ADD left. What is not
// there is no error. What a power cut brings back is of an earlier boot.
func (s Store) Remove(containerID, ifName string) error {
	path, err := s.path(containerID, ifName)
	if err != nil {
		return err
	}
	return errors.Join(statedir.Forget(path), statedir.Forget(claimPath(path)))
}

// List returns all readable records. Damaged files do not hide the others:
// they are named in the error, which may come together with records.
func (s Store) List() ([]Record, error) {
	return s.list(func([]byte) bool { return true })
}

// WithHostPorts is [Store.List] without the records that name no host port, which
// are most and are not parsed.
func (s Store) WithHostPorts() ([]Record, error) {
	return s.list(func(b []byte) bool { return bytes.Contains(b, []byte(`"hostPorts"`)) })
}

// list returns the records whose text is wanted.
func (s Store) list(wanted func([]byte) bool) ([]Record, error) {
	names, err := s.names()
	if err != nil {
		return nil, err
	}
	var records []Record
	var errs []error
	for _, name := range names {
		if strings.HasPrefix(name, statedir.TempPrefix) {
			continue
		}
		path := filepath.Join(s.Dir, name)
		b, err := statedir.ReadFile(path, mostBytes)
		if errors.Is(err, fs.ErrNotExist) {
			continue // detached meanwhile
		}
		if err == nil && !wanted(b) {
			continue
		}
		var r Record
		if err == nil {
			r, err = ParseRecord(b)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w; remove the file once its container is gone", path, err))
			continue
		}
		records = append(records, r)
	}
	return records, errors.Join(errs...)
}
