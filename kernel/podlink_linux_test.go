package kernel_test

import (
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ropeway-net/ropeway/kernel"
)

// inNode runs f on a thread with a network namespace of its own, as a node,
// together with the path of another namespace, as a pod. Nothing of either is
// left afterwards.
func inNode(t *testing.T, f func(pod string)) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("this test makes network namespaces: run it as root")
	}
	pod := filepath.Join(t.TempDir(), "pod")
	if err := os.WriteFile(pod, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // the thread ends with the goroutine
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			err = unix.Mount("/proc/thread-self/ns/net", pod, "", unix.MS_BIND, "")
		}
		if err == nil {
			err = unix.Unshare(unix.CLONE_NEWNET)
		}
		if err == nil {
			f(pod)
		}
		done <- errors.Join(err, unix.Unmount(pod, unix.MNT_DETACH))
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func testLink() kernel.PodLink {
	addresses := []netip.Addr{netip.MustParseAddr("10.1.0.2"), netip.MustParseAddr("fd01::2")}
	return kernel.PodLink{
		HostName: kernel.PodLinkPrefix + "0123456789ab", Name: "eth0", MAC: kernel.MAC{2, 0, 0x5e, 0x10, 0, 1}, MTU: 1400,
		Addresses: addresses, Routes: append(kernel.DefaultRoutes(addresses), netip.MustParsePrefix("10.0.0.0/8")),
	}
}

func attach(t *testing.T, n *kernel.PodNetns, l kernel.PodLink) {
	t.Helper()
	for _, s := range n.AttachSteps(t.Context(), l) {
		if err := s.Do(); err != nil {
			t.Errorf("%s: %v", s.Name, err)
		}
	}
}

func TestPodLinkPassesItsOwnCheckUntilItIsDetached(t *testing.T) {
	inNode(t, func(pod string) {
		n, err := kernel.OpenPodNetns(pod)
		if err != nil {
			t.Error(err)
			return
		}
		defer n.Close()
		l := testLink()
		attach(t, n, l)
		if err := n.Check(l); err != nil {
			t.Errorf("check: %v", err)
		}
		for _, want := range []bool{true, false} { // what is gone is no error
			found, err := kernel.RetirePodLink(l.HostName)
			if err != nil || found != want {
				t.Errorf("retire: %v, %v, want %v", found, err, want)
			}
			if err := kernel.DeleteRetired(t.Context()); err != nil {
				t.Errorf("delete: %v", err)
			}
		}
		for _, exists := range []func() (bool, error){
			func() (bool, error) { return n.HasLink(t.Context(), l.Name) },
			func() (bool, error) { return kernel.HasHostLink(l.HostName) },
		} {
			if left, err := exists(); left || err != nil {
				t.Errorf("a link is left: %v, %v", left, err)
			}
		}
		if err := n.Check(l); err == nil || !strings.Contains(err.Error(), "eth0") {
			t.Errorf("check after detaching: %v", err)
		}
	})
}

func TestPodLinkIsNotMadeTwice(t *testing.T) {
	inNode(t, func(pod string) {
		n, err := kernel.OpenPodNetns(pod)
		if err != nil {
			t.Error(err)
			return
		}
		defer n.Close()
		l := testLink()
		attach(t, n, l)
		again := l
		again.Name = "eth1"
		for _, s := range n.AttachSteps(t.Context(), again) {
			if err = s.Do(); err != nil {
				break
			}
		}
		if !errors.Is(err, kernel.ErrLinkExists) {
			t.Errorf("error %v, want ErrLinkExists", err)
		}
		if err := n.Check(l); err != nil {
			t.Errorf("the first link is damaged: %v", err)
		}
	})
}

func TestOnlyAnotherNetworkNamespaceIsAPods(t *testing.T) {
	inNode(t, func(pod string) {
		if err := kernel.CheckPodNetns(pod); err != nil {
			t.Errorf("a pod's namespace: %v", err)
		}
		for path, want := range map[string]error{
			"/proc/thread-self/ns/net":  kernel.ErrOwnNetns,
			"/proc/thread-self/ns/mnt":  kernel.ErrNotNetns,
			"/proc/self/status":         kernel.ErrNotNetns,
			"/dev/null":                 kernel.ErrNotNetns,
			filepath.Dir(pod):           kernel.ErrNotNetns,
			pod + ".missing":            fs.ErrNotExist,
			filepath.Dir(pod) + "/no/x": fs.ErrNotExist,
		} {
			if err := kernel.CheckPodNetns(path); !errors.Is(err, want) || !strings.Contains(err.Error(), path) {
				t.Errorf("%s: error %v, want %v", path, err, want)
			}
		}
	})
}
