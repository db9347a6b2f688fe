package statedir

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Request is what a plugin tells the daemon about a CNI request that it has
// served, for the daemon's figures alone.
type Request struct {
	Verb string // one of [Verbs]
	Code uint   // of the CNI error; 0: served
	Took time.Duration
}

// MaxRequest is the size in bytes of the longest report.
const MaxRequest = 64

// requestPrefix names the form of a report, so that daemon and plugin may be of
// different versions.
const requestPrefix = "ropeway/1"

// longest is what a request is said to have taken at most; a plugin gives up
// long before.
const longest = time.Hour

// Verbs are the verbs that are reported.
func Verbs() []string { return []string{"ADD", "DEL", "CHECK", "STATUS", "GC"} }

// Report tells the daemon about a request if it listens. It never waits, and
// whether it succeeds is of no importance: a pod must not depend on a figure.
func (d Dir) Report(r Request) {
	if !filepath.IsAbs(string(d)) {
		return // it would depend on the directory the runtime runs in
	}
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_DGRAM|syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return
	}
	_ = syscall.Sendto(fd, r.encode(), syscall.MSG_DONTWAIT|syscall.MSG_NOSIGNAL, &syscall.SockaddrUnix{Name: d.RequestsSocket()})
	_ = syscall.Close(fd)
}

func (r Request) encode() []byte {
	return fmt.Appendf(nil, "%s %s %d %d", requestPrefix, r.Verb, r.Code, min(max(r.Took, 0), longest).Microseconds())
}

// ParseRequest reads a report, and refuses whatever no plugin of ours sends.
func ParseRequest(b []byte) (Request, error) {
	if len(b) > MaxRequest {
		return Request{}, errors.New("report of a request: too long")
	}
	fields := strings.Split(string(b), " ")
	if len(fields) != 4 || fields[0] != requestPrefix {
		return Request{}, fmt.Errorf("report of a request: %q has not the form %q", b, requestPrefix+" VERB CODE MICROSECONDS")
	}
	if !slices.Contains(Verbs(), fields[1]) {
		return Request{}, fmt.Errorf("report of a request: verb %q is unknown", fields[1])
	}
	code, codeErr := strconv.ParseUint(fields[2], 10, 32)
	took, tookErr := strconv.ParseUint(fields[3], 10, 63)
	if err := errors.Join(codeErr, tookErr); err != nil {
		return Request{}, fmt.Errorf("report of a request: %w", err)
	}
	if took > uint64(longest.Microseconds()) {
		return Request{}, fmt.Errorf("report of a request: %d µs is no time that one takes", took)
	}
	return Request{Verb: fields[1], Code: uint(code), Took: time.Duration(took) * time.Microsecond}, nil
}
