package statedir

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// ErrNotPlain means that no file of ours stands under a name.
var ErrNotPlain = errors.New("it is no regular file of a sensible size")

// Open is [os.OpenFile] for regular files. Whatever else stands under the name
// cannot hold up the caller, as a pipe without another end would, and is
// [ErrNotPlain]; with O_NOFOLLOW a symbolic link is, too. Files on a disk are not
// waited for, so the runtime's poller, which takes a thread, is not told of them.
func Open(path string, flags int, mode os.FileMode) (*os.File, error) {
	fd, _, err := openPlain(path, flags, mode)
	if err != nil {
		return nil, err
	}
	if err := syscall.SetNonblock(fd, false); err != nil {
		_ = syscall.Close(fd)
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

// ReadFile returns the content of a regular file of at most so many bytes, with
// the errors of [Open].
func ReadFile(path string, most int) ([]byte, error) {
	fd, size, err := openPlain(path, os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = syscall.Close(fd) }()
	const unknown = 512 // bytes; files of /proc have no size
	b := make([]byte, 0, min(max(size+1, unknown), int64(most)+1))
	for len(b) <= most {
		if len(b) == cap(b) {
			b = append(b, 0)[:len(b)]
		}
		n, err := syscall.Read(fd, b[len(b):cap(b)])
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil:
			return nil, &os.PathError{Op: "read", Path: path, Err: err}
		case n == 0:
			return b, nil
		default:
			b = b[:len(b)+n]
		}
	}
	return nil, fmt.Errorf("%s: %w: it is larger than %d bytes", path, ErrNotPlain, most)
}

// openPlain returns a descriptor and the file's size in bytes.
func openPlain(path string, flags int, mode os.FileMode) (fd int, size int64, err error) {
	for {
		fd, err = syscall.Open(path, flags|syscall.O_NONBLOCK|syscall.O_CLOEXEC, uint32(mode.Perm()))
		if !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	if errors.Is(err, syscall.ELOOP) || errors.Is(err, syscall.ENXIO) || errors.Is(err, syscall.EISDIR) {
		return -1, 0, fmt.Errorf("%s: %w: %w", path, ErrNotPlain, err)
	}
	if err != nil {
		return -1, 0, &os.PathError{Op: "open", Path: path, Err: err}
	}
	var info syscall.Stat_t
	err = syscall.Fstat(fd, &info)
	if err != nil {
		err = &os.PathError{Op: "stat", Path: path, Err: err}
	} else if info.Mode&syscall.S_IFMT != syscall.S_IFREG {
		err = fmt.Errorf("%s: %w: it is a directory, pipe or device", path, ErrNotPlain)
	}
	if err != nil {
		_ = syscall.Close(fd)
		return -1, 0, err
	}
	return fd, info.Size, nil
}
