package probe

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"testing"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"
)

// inNamespace runs f on a thread in a network namespace of its own, which has
// a loopback interface and ends with the thread.
func inNamespace(t *testing.T, f func() error) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("the test makes a network namespace; run as root")
	}
	failed := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // not unlocked: the thread ends
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			err = exec.Command("ip", "link", "set", "lo", "up").Run()
		}
		if err == nil {
			err = f()
		}
		failed <- err
	}()
	if err := <-failed; err != nil {
		t.Fatal(err)
	}
}

func TestEchoWithAndWithoutPrivilege(t *testing.T) {
	for _, group := range []string{"1 0", "0 0"} { // nobody, root's
		for _, to := range []string{"127.0.0.1", "::1"} {
			t.Run(fmt.Sprintf("group %s to %s", group, to), func(t *testing.T) {
				inNamespace(t, func() error {
					if err := os.WriteFile("/proc/sys/net/ipv4/ping_group_range", []byte(group), 0); err != nil {
						return err
					}
					return echo(netip.MustParseAddr(to), group == "1 0")
				})
			})
		}
	}
}

func echo(to netip.Addr, raw bool) error {
	c, err := Open(familyOf(to))
	if err != nil {
		return err
	}
	if got := c.(*conn).raw; got != raw {
		return fmt.Errorf("raw socket: %t, want %t", got, raw)
	}
	for range 3 {
		token := newToken()
		if err := c.Send(to, token); err != nil {
			return err
		}
		got := make(chan Reply, 1)
		go func() {
			if r, err := c.Receive(); err == nil {
				got <- r
			}
		}()
		select {
		case r := <-got:
			if r != (Reply{From: to, Token: token}) {
				return fmt.Errorf("reply %+v", r)
			}
		case <-time.After(10 * time.Second):
			return fmt.Errorf("no reply from %s", to)
		}
	}
	return c.Close()
}

func FuzzParseReply(f *testing.F) {
	token := newToken()
	for _, kind := range []icmp.Type{ipv4.ICMPTypeEchoReply, ipv6.ICMPTypeEchoReply, ipv4.ICMPTypeEcho} {
		b, err := (&icmp.Message{Type: kind, Body: &icmp.Echo{ID: 1, Seq: 2, Data: token[:]}}).Marshal(nil)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, family := range []Family{IPv4, IPv6} {
			if _, ok := parseReply(b, family); ok && len(b) != 8+len(token) {
				t.Errorf("%d bytes are taken for a reply", len(b))
			}
		}
	})
}
