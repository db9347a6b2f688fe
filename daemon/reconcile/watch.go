package reconcile

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ropeway-net/ropeway/coalesce"
	"github.com/ropeway-net/ropeway/statedir"
)

// watched is a directory whose files' changes are reported. Where it cannot be
// watched the changes are seen otherwise, or later.
type watched struct {
	dir, what, otherwise string
}

// watchRest is how long after a reading the next one comes. ADD and DEL change
// several files each, and are disturbed once.
const watchRest = 10 * time.Millisecond

// watchDir reports changes of the files in a directory, which it creates.
func watchDir(ctx context.Context, wait *sync.WaitGroup, w watched, log *slog.Logger) <-chan struct{} {
	reports := make(chan struct{}, 1)
	d, err := openDirWatch(w.dir)
	if err != nil {
		log.Warn("a directory cannot be watched", "holds", w.what, "otherwise", w.otherwise, "cause", err.Error())
		return reports
	}
	wait.Go(func() {
		defer d.Close()
		err := coalesce.Run(ctx, watchRest, coalesce.Source{FD: d.fd, Read: func() error {
			changed, err := d.read()
			if changed {
				select {
				case reports <- struct{}{}:
				default:
				}
			}
			return err
		}})
		if err != nil {
			log.Warn("a directory cannot be watched any more", "holds", w.what, "otherwise", w.otherwise, "cause", err.Error())
		}
	})
	return reports
}

// dirWatch is told by inotify of what happens in a directory.
type dirWatch struct {
	dir string
	fd  int
	buf []byte
}

func openDirWatch(dir string) (*dirWatch, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("watch %s: %w; is fs.inotify.max_user_instances used up?", dir, err)
	}
	d := &dirWatch{dir: dir, fd: fd, buf: make([]byte, 16<<10)}
	if err := d.add(); err != nil {
		d.Close()
		return nil, err
	}
	return d, nil
}

func (d *dirWatch) Close() { _ = unix.Close(d.fd) }

// add watches the directory, which it creates. A file is there once it is linked,
// renamed or, by whoever writes in place, closed.
func (d *dirWatch) add() error {
	if err := os.MkdirAll(d.dir, 0o755); err != nil {
		return err
	}
	const told = unix.IN_CREATE | unix.IN_CLOSE_WRITE | unix.IN_DELETE | unix.IN_MOVED_FROM | unix.IN_MOVED_TO |
		unix.IN_DELETE_SELF | unix.IN_MOVE_SELF | unix.IN_ONLYDIR
	if _, err := unix.InotifyAddWatch(d.fd, d.dir, told); err != nil {
		return fmt.Errorf("watch %s: %w", d.dir, err)
	}
	return nil
}

// read takes all events and says whether any is about more than a temporary
// file, whose renaming or linking into place is the change. A directory that is
// removed or renamed is made and watched anew.
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
			mask, length := binary.NativeEndian.Uint32(b[4:]), binary.NativeEndian.Uint32(b[12:])
			b = b[unix.SizeofInotifyEvent:]
			name := unix.ByteSliceToString(b[:min(int(length), len(b))])
			b = b[min(int(length), len(b)):]
			changed = changed || !strings.HasPrefix(name, statedir.TempPrefix)
			if mask&(unix.IN_DELETE_SELF|unix.IN_MOVE_SELF) != 0 {
				if err := d.add(); err != nil {
					return true, err
				}
			}
		}
	}
}
