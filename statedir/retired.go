package statedir

import (
	"errors"
	"path/filepath"
	"syscall"
)

// HandOver tells the daemon of the network namespace that there are retired
// links, and says whether it will delete them. It never waits. Only a daemon
// that lives can be told; if it dies before it has deleted them, the next one
// does so when it starts.
func (d Dir) HandOver(netns uint64) bool {
	if !filepath.IsAbs(string(d)) {
		return false // it would depend on the directory the runtime runs in
	}
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_DGRAM|syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return false
	}
	err = syscall.Sendto(fd, []byte("retired"), syscall.MSG_DONTWAIT|syscall.MSG_NOSIGNAL, &syscall.SockaddrUnix{Name: d.RetiredSocket(netns)})
	_ = syscall.Close(fd)
	// Where there is no room for the notice, others wait there that the daemon
	// has not read yet, and after each it deletes all retired links.
	return err == nil || errors.Is(err, syscall.EAGAIN)
}
