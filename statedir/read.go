package statedir

import (
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
)

// ErrNotPlain means that no file of ours stands under a name.
var ErrNotPlain = errors.New("it is no regular file of a sensible size")

// ReadFile returns the content of a regular file of at most so many bytes.
// Whatever else stands under the name can neither fill the memory nor hold up
// the reader, and is [ErrNotPlain]: a pipe is opened without waiting for somebody to write to it.
func ReadFile(path string, most int64) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: %w: it is a directory, pipe or device", path, ErrNotPlain)
	}
	b, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(b)) > most {
		return nil, fmt.Errorf("%s: %w: it is larger than %d bytes", path, ErrNotPlain, most)
	}
	return b, err
}
