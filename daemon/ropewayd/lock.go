package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/ropeway-net/ropeway/statedir"
)

// lock keeps a second daemon, and cleanup, away from a state directory that is
// in use. The kernel gives it back when the process dies.
type lock struct {
	file *os.File
}

// acquire takes the lock of a state directory. It tries again when cleanup has
// removed the file between opening and locking it.
func acquire(dir statedir.Dir) (*lock, error) {
	const attempts = 10
	for range attempts {
		l, err := tryAcquire(dir)
		if err != nil || l.held() {
			return l, err
		}
		l.release()
	}
	return nil, fmt.Errorf("state directory %s: somebody keeps removing its lock file; find out who", dir)
}

func tryAcquire(dir statedir.Dir) (*lock, error) {
	path := filepath.Join(string(dir), "ropewayd.lock")
	if err := os.MkdirAll(string(dir), 0o755); err != nil {
		return nil, fmt.Errorf("state directory: %w; make it writable or set stateDir", err)
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("state directory: %w; make it writable or set stateDir", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		holder, _ := io.ReadAll(io.LimitReader(f, 20))
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("ropewayd runs already on %s (process %s); stop it first (a second daemon needs a stateDir of its own)", dir, strings.TrimSpace(string(holder)))
		}
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	_ = f.Truncate(0) // the number is for people; a full disk must not stop us
	_, _ = f.WriteAt(fmt.Appendf(nil, "%d\n", os.Getpid()), 0)
	return &lock{file: f}, nil
}

// held says whether the locked file is still the one that others would lock.
// It is not when the state directory was removed or another one put in its
// place.
func (l *lock) held() bool {
	own, err := l.file.Stat()
	if err != nil {
		return false
	}
	there, err := os.Stat(l.file.Name())
	return err == nil && os.SameFile(own, there)
}

func (l *lock) release() { _ = l.file.Close() }

// remove gives the lock up together with its file, and the directory if that
// was the last file in it.
func (l *lock) remove() {
	_ = os.Remove(l.file.Name())
	_ = os.Remove(filepath.Dir(l.file.Name()))
	l.release()
}
