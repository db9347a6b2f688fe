package main

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/ropeway-net/ropeway/statedir"
)

// mostConfigBytes bounds what is read; a ConfigMap is at most as large.
const mostConfigBytes = 1 << 20

// readConfig returns the file's bytes.
func readConfig(path string) ([]byte, error) {
	b, err := statedir.ReadFile(path, mostConfigBytes)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("configuration %s does not exist; create it (an empty file means the defaults) or name another one with --config", path)
	case errors.Is(err, statedir.ErrNotPlain):
		return nil, fmt.Errorf("configuration %w; put a file there or name another one with --config", err)
	case err != nil:
		return nil, fmt.Errorf("configuration cannot be read: %w", err)
	}
	return b, nil
}
