package kernel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// routeSocket sends several requests to the kernel at once. Unlike the library's
// socket it blocks: the kernel has answered when sending returns, and a socket
// that the runtime polls wakes another thread for each answer.
type routeSocket struct {
	fd     int
	answer []byte // nil until the first
}

// openRouteSocketIn opens a socket in the network namespace ns; own is the caller's.
func openRouteSocketIn(ns, own int) (*routeSocket, error) {
	runtime.LockOSThread()
	if err := unix.Setns(ns, unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return nil, err
	}
	s, err := newRouteSocket()
	if back := unix.Setns(own, unix.CLONE_NEWNET); back != nil {
		// The thread stays locked, and so ends with its goroutine.
		return nil, errors.Join(err, fmt.Errorf("return from network namespace: %w", back))
	}
	runtime.UnlockOSThread()
	return s, err
}

func newRouteSocket() (*routeSocket, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, err
	}
	timeout := unix.NsecToTimeval(socketTimeout.Nanoseconds())
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout); err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	return &routeSocket{fd: fd}, nil
}

func (s *routeSocket) Close() { _ = unix.Close(s.fd) }

// maxAnswer is more than the kernel says about a link, in bytes.
const maxAnswer = 32 << 10

// exchange sends requests in one message and returns, in their order, the
// kernel's refusals, nil where there is none, and the data that it answered
// with. A refusal does not keep the kernel from the requests behind it.
func (s *routeSocket) exchange(requests ...*nl.NetlinkRequest) (refused []error, answers [][]byte, err error) {
	refused, answers = make([]error, len(requests)), make([][]byte, len(requests))
	var message []byte
	for i, r := range requests {
		r.Seq = uint32(i)
		r.Flags &^= unix.NLM_F_ACK // refusals are told anyway
		if i == len(requests)-1 {
			r.Flags |= unix.NLM_F_ACK
		}
		message = append(message, r.Serialize()...)
		for len(message)%unix.NLMSG_ALIGNTO != 0 {
			message = append(message, 0)
		}
	}
	if err := unix.Sendto(s.fd, message, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return nil, nil, fmt.Errorf("send to the kernel: %w", err)
	}
	if s.answer == nil {
		s.answer = make([]byte, maxAnswer)
	}
	for done := false; !done; {
		n, from, err := s.receive(s.answer)
		if err != nil {
			return nil, nil, err
		}
		if kernel, ok := from.(*unix.SockaddrNetlink); !ok || kernel.Pid != 0 {
			continue // another process's
		}
		if done, err = collect(s.answer[:n], refused, answers); err != nil {
			return nil, nil, err
		}
	}
	return refused, answers, nil
}

func (s *routeSocket) receive(buf []byte) (int, unix.Sockaddr, error) {
	for {
		n, from, err := unix.Recvfrom(s.fd, buf, 0)
		switch {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EAGAIN):
			return 0, nil, fmt.Errorf("the kernel does not answer within %s", socketTimeout)
		case err != nil:
			return 0, nil, fmt.Errorf("receive from the kernel: %w", err)
		default:
			return n, from, nil
		}
	}
}

// collect takes one message of the kernel, and is true when the last request
// has its answer.
func collect(b []byte, refused []error, answers [][]byte) (bool, error) {
	done := false
	for len(b) >= unix.SizeofNlMsghdr {
		length := int(binary.NativeEndian.Uint32(b))
		kind := binary.NativeEndian.Uint16(b[4:])
		i := int(binary.NativeEndian.Uint32(b[8:]))
		if length < unix.SizeofNlMsghdr || length > len(b) || i >= len(refused) {
			return false, errors.New("the kernel's answer cannot be understood")
		}
		data := b[unix.SizeofNlMsghdr:length]
		switch {
		case kind != unix.NLMSG_ERROR:
			answers[i] = append([]byte(nil), data...)
		case len(data) < 4:
			return false, errors.New("the kernel's answer cannot be understood")
		default:
			if code := int32(binary.NativeEndian.Uint32(data)); code != 0 {
				refused[i] = unix.Errno(-code)
			}
			done = done || i == len(refused)-1
		}
		b = b[min((length+unix.NLMSG_ALIGNTO-1)&^(unix.NLMSG_ALIGNTO-1), len(b)):]
	}
	return done, nil
}

// request is one of several that are sent together.
type request struct {
	*nl.NetlinkRequest
	what string // that it sets, for errors: "route to 10.1.0.2 on rwp0"
	// recover may do something about a refusal and try again, for instance
	// with another request; nil is no hope.
	recover func(refusal error) error
}

// do sends requests together. Those that are refused are tried again, one by
// one in their order, since what one of them lacked may be there then.
func (s *routeSocket) do(requests []request) error {
	raw := make([]*nl.NetlinkRequest, len(requests))
	for i, r := range requests {
		raw[i] = r.NetlinkRequest
	}
	refused, _, err := s.exchange(raw...)
	if err != nil {
		return err
	}
	failed := false
	for i, r := range requests {
		if refused[i] == nil {
			continue
		}
		refusal := refused[i]
		if failed { // for want of an earlier one, perhaps
			refusal = s.one(r.NetlinkRequest)
		}
		failed = true
		if refusal != nil && r.recover != nil {
			refusal = r.recover(refusal)
		}
		if refusal != nil {
			return fmt.Errorf("%s: %w%s", r.what, refusal, remedyFor(refusal))
		}
	}
	return nil
}

// one sends a single request.
func (s *routeSocket) one(r *nl.NetlinkRequest) error {
	refused, _, err := s.exchange(r)
	if err != nil {
		return err
	}
	return refused[0]
}
