package kernel

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	mdl "github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// subscribed is told of links and neighbours of a namespace of its own.
func subscribed(t *testing.T) (space, *subscription) {
	t.Helper()
	s := newSpace(t)
	sub, err := s.kernel.(*conn).subscribe(unix.NETLINK_ROUTE, routeGroups())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sub.Close)
	return s, sub
}

func never(t *testing.T) func() { return func() { t.Error("notifications are said to be lost") } }

func TestReadingEndsWithWhatIsThereAndItsGreatestReport(t *testing.T) {
	s, sub := subscribed(t)
	if report, err := sub.read(never(t), nil); report != nothing || err != nil {
		t.Errorf("report %d, %v of nothing", report, err)
	}
	s.sh("ip link add first type veth peer name second")
	kinds := map[mdl.HeaderType]int{}
	report, err := sub.read(never(t), func(m mdl.Message) Report {
		kinds[m.Header.Type]++
		return PodsChanged
	})
	if report != PodsChanged || err != nil || kinds[unix.RTM_NEWLINK] < 2 {
		t.Errorf("report %d, %v, notifications %v", report, err, kinds)
	}
}

func TestLostNotificationsAreAReport(t *testing.T) {
	s, sub := subscribed(t)
	if err := unix.SetsockoptInt(sub.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 4096); err != nil {
		t.Fatal(err)
	}
	for i := range 40 {
		s.sh(fmt.Sprintf("ip link add a%d type veth peer name b%d", i, i))
	}
	times := 0
	report, err := sub.read(func() { times++ }, func(mdl.Message) Report { return nothing })
	if report != Changed || err != nil || times != 1 {
		t.Errorf("report %d, %v, lost %d times", report, err, times)
	}
}

func TestNewsOfOthersIsPassedOver(t *testing.T) {
	s, sub := subscribed(t)
	own, err := unix.Getsockname(sub.fd)
	if err != nil {
		t.Fatal(err)
	}
	// From the same namespace, for a socket speaks to those of its own.
	var other int
	err = s.kernel.(*conn).inNamespace(func() (err error) {
		other, err = unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(other) }()
	message := make([]byte, unix.SizeofNlMsghdr)
	message[0] = unix.SizeofNlMsghdr
	if err = unix.Sendto(other, message, 0, own); err != nil && !errors.Is(err, unix.ECONNREFUSED) {
		t.Fatal(err)
	}
	report, err := sub.read(never(t), func(m mdl.Message) Report {
		t.Errorf("judged: %+v", m)
		return Changed
	})
	if report != nothing || err != nil {
		t.Errorf("report %d, %v", report, err)
	}
}

func TestReceiveBufferGoesBeyondWhatEverybodyMayHave(t *testing.T) {
	_, sub := subscribed(t)
	text, err := os.ReadFile("/proc/sys/net/core/rmem_max")
	if err != nil {
		t.Fatal(err)
	}
	most, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	size := max(2*most, watchBuffer)
	setReceiveBuffer(sub.fd, size)
	if got, err := unix.GetsockoptInt(sub.fd, unix.SOL_SOCKET, unix.SO_RCVBUF); got < size || err != nil {
		t.Errorf("%d bytes, %v; want %d", got, err, size)
	}
}
