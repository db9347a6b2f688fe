package kernel

import (
	"errors"
	"os"
	"runtime"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// What CanLinkPods relies on, and that nothing is made by asking.
func TestAskingForAKindOfLinkTellsWhetherThereIsOne(t *testing.T) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // the thread ends with the goroutine
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			t.Error(err)
			return
		}
		askForKinds(t)
	}()
	<-done
}

func askForKinds(t *testing.T) {
	before, err := netlink.LinkList()
	if err != nil {
		t.Error(err)
	}
	for kind, want := range map[string]error{"veth": unix.EINVAL, "no-such-kind": unix.EOPNOTSUPP} {
		if err = tryLink(kind); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", kind, err, want)
		}
	}
	if err = CanLinkPods(); err != nil {
		t.Error(err)
	}
	after, err := netlink.LinkList()
	if err != nil || len(after) != len(before) {
		t.Errorf("%d links, error %v; want %d as before", len(after), err, len(before))
	}
	if found, err := HasTunnel(); found || err != nil {
		t.Errorf("tunnel %t, %v", found, err)
	}
	if err := HasIPv6(); err != nil {
		t.Error(err)
	}
	if err := os.WriteFile("/proc/sys/net/ipv6/conf/default/disable_ipv6", []byte("1"), 0); err != nil {
		t.Error(err)
	}
	if err := HasIPv6(); !errors.Is(err, ErrNoIPv6) {
		t.Errorf("%v, want %v", err, ErrNoIPv6)
	}
}
