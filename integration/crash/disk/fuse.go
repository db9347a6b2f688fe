package disk

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Operations of the FUSE protocol (linux/fuse.h) that a single file needs.
const (
	opForget  = 2
	opGetattr = 3
	opSetattr = 4
	opOpen    = 14
	opRead    = 15
	opWrite   = 16
	opRelease = 18
	opFsync   = 20
	opFlush   = 25
	opInit    = 26
)

const (
	fuseInHeader  = 40
	fuseOutHeader = 16
	// fuseMaxWrite is the largest write that is asked for.
	fuseMaxWrite = 128 << 10
	// fuseDirect (FOPEN_DIRECT_IO) keeps the page cache out: each write comes
	// as the block layer sends it.
	fuseDirect = 1
)

// File is a disk that is served as a file.
type File struct {
	disk *Disk
	path string
	fuse *os.File
	done chan error
}

// Mount serves the disk under the name of an existing file, until Close. The
// mount is one of the calling thread's mount namespace.
func Mount(d *Disk, path string) (*File, error) {
	fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("serve a disk as a file: %w; is FUSE in this kernel?", err)
	}
	f := &File{disk: d, path: path, fuse: os.NewFile(uintptr(fd), "/dev/fuse"), done: make(chan error, 1)}
	options := fmt.Sprintf("fd=%d,rootmode=%o,user_id=0,group_id=0", fd, unix.S_IFREG|0o600)
	if err := unix.Mount("disk", path, "fuse", unix.MS_NOSUID|unix.MS_NODEV, options); err != nil {
		return nil, errors.Join(fmt.Errorf("serve a disk as a file: %w", err), f.fuse.Close())
	}
	go func() { f.done <- f.serve(fd) }()
	return f, nil
}

// Close ends the mount. Nobody may use the file any more.
func (f *File) Close() error {
	err := unix.Unmount(f.path, 0)
	if err != nil {
		err = errors.Join(err, unix.Unmount(f.path, unix.MNT_DETACH))
	}
	return errors.Join(err, <-f.done, f.fuse.Close())
}

func (f *File) serve(fd int) error {
	request := make([]byte, fuseMaxWrite+4096)
	for {
		n, err := unix.Read(fd, request)
		switch {
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.ENOENT), errors.Is(err, unix.EAGAIN):
			continue
		case errors.Is(err, unix.ENODEV): // unmounted
			return nil
		case err != nil:
			return fmt.Errorf("serve a disk as a file: %w", err)
		}
		if n < fuseInHeader {
			return fmt.Errorf("serve a disk as a file: request of %d bytes", n)
		}
		operation := binary.NativeEndian.Uint32(request[4:])
		if operation == opForget {
			continue
		}
		body, errno := f.answer(operation, request[fuseInHeader:n])
		reply := make([]byte, fuseOutHeader, fuseOutHeader+len(body))
		binary.NativeEndian.PutUint32(reply, uint32(fuseOutHeader+len(body)))
		binary.NativeEndian.PutUint32(reply[4:], uint32(-int32(errno)))
		copy(reply[8:16], request[8:16]) // which request it answers
		if _, err := unix.Write(fd, append(reply, body...)); err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("serve a disk as a file: %w", err)
		}
	}
}

func (f *File) answer(operation uint32, in []byte) ([]byte, unix.Errno) {
	switch operation {
	case opInit:
		out := make([]byte, 64)
		binary.NativeEndian.PutUint32(out, 7)
		binary.NativeEndian.PutUint32(out[4:], min(31, binary.NativeEndian.Uint32(in[4:])))
		binary.NativeEndian.PutUint32(out[20:], fuseMaxWrite)
		return out, 0
	case opGetattr, opSetattr:
		return f.attributes(), 0
	case opOpen:
		out := make([]byte, 16)
		binary.NativeEndian.PutUint32(out[8:], fuseDirect)
		return out, 0
	case opRead:
		p := make([]byte, binary.NativeEndian.Uint32(in[16:]))
		n, _ := f.disk.ReadAt(p, int64(binary.NativeEndian.Uint64(in[8:])))
		return p[:n], 0
	case opWrite:
		size := binary.NativeEndian.Uint32(in[16:])
		if _, err := f.disk.WriteAt(in[40:40+size], int64(binary.NativeEndian.Uint64(in[8:]))); err != nil {
			return nil, unix.EIO
		}
		out := make([]byte, 8)
		binary.NativeEndian.PutUint32(out, size)
		return out, 0
	case opFsync:
		f.disk.Flush()
		return nil, 0
	case opFlush, opRelease:
		return nil, 0
	}
	return nil, unix.ENOSYS
}

// attributes is struct fuse_attr_out of the file.
func (f *File) attributes() []byte {
	out := make([]byte, 16+88)
	binary.NativeEndian.PutUint64(out, 3600) // seconds for which they hold
	attr := out[16:]
	binary.NativeEndian.PutUint64(attr, 1) // inode
	binary.NativeEndian.PutUint64(attr[8:], uint64(f.disk.Size()))
	binary.NativeEndian.PutUint64(attr[16:], uint64(f.disk.Size()/512))
	binary.NativeEndian.PutUint32(attr[60:], unix.S_IFREG|0o600)
	binary.NativeEndian.PutUint32(attr[64:], 1) // links
	binary.NativeEndian.PutUint32(attr[80:], 4096)
	return out
}
