package reconcile

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ropeway-net/ropeway/statedir"
)

// dirWatch is told by inotify of what happens in a directory.
type dirWatch struct {
	dir string
	fd  int
	buf []byte
}

func openDirWatch(dir string) (*dirWatch, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if errors.Is(err, unix.EMFILE) {
		return nil, fmt.Errorf("watch %s: %w; raise fs.inotify.max_user_instances or the number of open files", dir, err)
	}
	if err != nil {
		return nil, fmt.Errorf("watch %s: %w", dir, err)
	}
	d := &dirWatch{dir: dir, fd: fd, buf: make([]byte, 16<<10)}
	if err := d.add(); err != nil {
		d.Close()
		return nil, err
	}
	return d, nil
}

func (d *dirWatch) Close() { _ = unix.Close(d.fd) }

// add watches the directory, which it creates, and does nothing to a watch that
// there is. Somebody may remove the directory in between.
func (d *dirWatch) add() error {
	const (
		told = unix.IN_CREATE | unix.IN_MODIFY | unix.IN_ATTRIB | unix.IN_DELETE | unix.IN_MOVED_FROM | unix.IN_MOVED_TO |
			unix.IN_DELETE_SELF | unix.IN_MOVE_SELF | unix.IN_ONLYDIR
		attempts = 10
	)
	var err error
	for range attempts {
		if err = os.MkdirAll(d.dir, 0o755); err == nil {
			_, err = unix.InotifyAddWatch(d.fd, d.dir, told)
		}
		if !errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("watch %s: %w", d.dir, err)
	}
	return nil
}

// read takes all events and says whether any is about more than a temporary
// file, whose renaming or linking into place is the change. A directory that is
// removed, renamed or mounted over and away is made and watched anew.
func (d *dirWatch) read() (changed bool, err error) {
	for {
		n, err := unix.Read(d.fd, d.buf)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EAGAIN):
			return changed, nil
		case err != nil:
			return changed, fmt.Errorf("watch %s: %w", d.dir, err)
		}
		for b := d.buf[:n]; len(b) >= unix.SizeofInotifyEvent; {
			watch, mask, length := int(binary.NativeEndian.Uint32(b)), binary.NativeEndian.Uint32(b[4:]), binary.NativeEndian.Uint32(b[12:])
			b = b[unix.SizeofInotifyEvent:]
			name := unix.ByteSliceToString(b[:min(int(length), len(b))])
			b = b[min(int(length), len(b)):]
			changed = changed || !strings.HasPrefix(name, statedir.TempPrefix)
			if err := d.follow(watch, mask); err != nil {
				return true, err
			}
		}
	}
}

// follow keeps the watch on what stands under the directory's name.
func (d *dirWatch) follow(watch int, mask uint32) error {
	if mask&unix.IN_MOVE_SELF != 0 {
		_, _ = unix.InotifyRmWatch(d.fd, uint32(watch)) // it would tell of the directory that was renamed
	}
	const lost = unix.IN_MOVE_SELF | unix.IN_DELETE_SELF | unix.IN_UNMOUNT | unix.IN_IGNORED | unix.IN_Q_OVERFLOW
	if mask&lost == 0 {
		return nil
	}
	return d.add()
}
