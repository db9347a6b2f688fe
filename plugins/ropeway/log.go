package main

import (
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/ropeway-net/ropeway/jsonobject"
	"github.com/ropeway-net/ropeway/plugins/protocol"
	"github.com/ropeway-net/ropeway/statedir"
)

// maxLog is the size in bytes at which a log file is set aside. One older
// file is kept.
const maxLog = 4 << 20

// verbLog writes one line for a verb when it has finished. A log that cannot
// be written never fails the verb: the runtime sees the error itself.
type verbLog struct {
	dir       string
	verb      string
	args      *protocol.Args
	start     time.Time
	addresses []netip.Addr
}

func startLog(dir statedir.Dir, verb string, args *protocol.Args) *verbLog {
	return &verbLog{dir: dir.Log(), verb: verb, args: args, start: time.Now()}
}

func (l *verbLog) finish(err error) {
	f, openErr := openLog(l.dir)
	if openErr != nil {
		return
	}
	defer func() { _ = f.Close() }()
	_, _ = f.Write(append(l.line(err), '\n'))
}

// line is a line of the log, in the form of package log/slog.
func (l *verbLog) line(err error) []byte {
	level, message := "INFO", "done"
	if err != nil {
		level, message = "ERROR", "failed"
	}
	return jsonobject.Write(func(w *jsonobject.Writer) {
		w.String("time", time.Now().UTC().Format(time.RFC3339Nano))
		w.String("level", level)
		w.String("msg", message)
		w.String("verb", l.verb)
		w.String("container", l.args.ContainerID)
		w.String("ifname", l.args.IfName)
		w.Int("took", time.Since(l.start).Nanoseconds())
		if len(l.addresses) > 0 {
			jsonobject.Strings(w, "addresses", l.addresses, netip.Addr.String)
		}
		if err != nil {
			w.String("error", err.Error())
		}
	})
}

// openLog opens the log for appending, which the kernel makes atomic for a
// line, and sets a long one aside first.
func openLog(dir string) (*os.File, error) {
	path := filepath.Join(dir, "ropeway.log")
	f, err := openAppend(path)
	if os.IsNotExist(err) {
		if err = os.MkdirAll(dir, 0o755); err == nil {
			f, err = openAppend(path)
		}
	}
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil || info.Size() < maxLog {
		return f, nil
	}
	setAside(f, info, path)
	next, err := openAppend(path)
	if err != nil {
		return f, nil
	}
	_ = f.Close()
	return next, nil
}

func openAppend(path string) (*os.File, error) {
	return statedir.Open(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
}

// setAside renames the log f unless another process is at it or has done it.
func setAside(f *os.File, info fs.FileInfo, path string) {
	if syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) != nil {
		return
	}
	if now, err := os.Stat(path); err == nil && os.SameFile(info, now) {
		_ = os.Rename(path, path+".1")
	}
}
