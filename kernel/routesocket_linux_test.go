package kernel

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"os"
	"runtime"
	"testing"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// inEmptyNetns runs f on a thread with a network namespace of its own.
func inEmptyNetns(t *testing.T, f func(*routeSocket)) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("this test makes a network namespace: run it as root")
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // the thread ends with the goroutine
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			var s *routeSocket
			if s, err = newRouteSocket(); err == nil {
				f(s)
				s.Close()
			}
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func TestEachOfSeveralRequestsHasItsOwnAnswer(t *testing.T) {
	inEmptyNetns(t, func(s *routeSocket) {
		refused, answers, err := s.exchange(linkRequest("nosuch"), linkRequest("lo"), deleteRequest("nosuch"), linkUp("lo", 0))
		if err != nil {
			t.Error(err)
			return
		}
		for i, want := range []error{unix.ENODEV, nil, unix.ENODEV, nil} {
			if !errors.Is(refused[i], want) {
				t.Errorf("request %d: %v, want %v", i, refused[i], want)
			}
		}
		if lo, err := parseLink(answers[1]); err != nil || lo.index != 1 {
			t.Errorf("lo is %+v, %v", lo, err)
		}
		if !s.isLocal(netip.MustParseAddr("127.0.0.1")) || s.isLocal(netip.MustParseAddr("192.0.2.1")) {
			t.Error("127.0.0.1 is local, 192.0.2.1 is not")
		}
	})
}

func TestRefusedRequestsAreTriedAgainAfterTheOneThatTheyLacked(t *testing.T) {
	inEmptyNetns(t, func(s *routeSocket) {
		address := netip.MustParsePrefix("192.0.2.1/32")
		tried := 0
		err := s.do([]request{
			{NetlinkRequest: deleteRequest("nosuch"), what: "link", recover: func(refusal error) error {
				tried++
				return s.one(linkUp("lo", 0))
			}},
			// Without an interface that is up there is no route.
			{NetlinkRequest: podRoute{index: 1, dst: address, scope: unix.RT_SCOPE_LINK}.request(unix.NLM_F_EXCL), what: "route"},
		})
		if err != nil || tried != 1 {
			t.Errorf("%v after %d tries", err, tried)
		}
		err = s.do([]request{{NetlinkRequest: addressRequest(99, address, 0, 0), what: "address 192.0.2.1 on eth0"}})
		if !errors.Is(err, unix.ENODEV) || err.Error() != "address 192.0.2.1 on eth0: no such device" {
			t.Errorf("error %v", err)
		}
	})
}

// answer is a message of the kernel.
func answer(kind uint16, request uint32, data []byte) []byte {
	b := make([]byte, unix.SizeofNlMsghdr, 64)
	binary.NativeEndian.PutUint32(b, uint32(unix.SizeofNlMsghdr+len(data)))
	binary.NativeEndian.PutUint16(b[4:], kind)
	binary.NativeEndian.PutUint32(b[8:], request)
	return append(b, data...)
}

func FuzzAnswersOfTheKernel(f *testing.F) {
	f.Add(answer(unix.NLMSG_ERROR, 1, nl.Uint32Attr(0)))
	f.Add(append(answer(unix.NLMSG_ERROR, 0, nl.Uint32Attr(0xffffffff)), answer(unix.RTM_NEWLINK, 1, make([]byte, 20))...))
	f.Add(answer(unix.NLMSG_ERROR, 7, nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		refused, answers := make([]error, 2), make([][]byte, 2)
		done, err := collect(b, refused, answers)
		if done && err != nil {
			t.Errorf("done, and %v", err)
		}
		for _, a := range append(answers, b) {
			if _, err := parseLink(a); err == nil && len(a) < unix.SizeofIfInfomsg {
				t.Errorf("a link was read from %d bytes", len(a))
			}
		}
	})
}
