package statedir

import (
	"errors"
	"io/fs"
	"syscall"
)

// explained is an error that says already what to do about it.
type explained struct {
	err    error
	remedy string
}

func (e *explained) Error() string { return e.err.Error() + "; " + e.remedy }
func (e *explained) Unwrap() error { return e.err }

// Explain adds to an error of the file system what to do about it, once
// however often it is called on the way up. Other errors it leaves as they are.
func Explain(err error) error {
	var already *explained
	if errors.As(err, &already) {
		return err
	}
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return &explained{err, "free space or inodes on that file system"}
	case errors.Is(err, syscall.EROFS):
		return &explained{err, "mount that file system writable"}
	case errors.Is(err, syscall.ENOTDIR):
		return &explained{err, "a file stands where a directory belongs: move it away, or configure another directory"}
	case errors.Is(err, fs.ErrPermission):
		return &explained{err, "run as root, with write access there"}
	}
	return err
}
