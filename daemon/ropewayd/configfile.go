package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
)

// mostConfigBytes bounds what is read; a ConfigMap is at most as large.
const mostConfigBytes = 1 << 20

// readConfig returns the file's bytes. It is opened without waiting: a pipe
// would otherwise hold the daemon until somebody writes to it.
func readConfig(path string) ([]byte, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("configuration %s does not exist; create it (an empty file means the defaults) or name another one with --config", path)
	}
	if err != nil {
		return nil, fmt.Errorf("configuration cannot be read: %w", err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, fmt.Errorf("configuration cannot be read: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("configuration %s is a directory, pipe or device; put a file there or name another one with --config", path)
	}
	b, err := io.ReadAll(io.LimitReader(file, mostConfigBytes+1))
	if err == nil && len(b) > mostConfigBytes {
		err = fmt.Errorf("%s is larger than 1 MB", path)
	}
	if err != nil {
		return nil, fmt.Errorf("configuration cannot be read: %w", err)
	}
	return b, nil
}
