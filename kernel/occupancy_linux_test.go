package kernel

import (
	"context"
	"net/netip"
	"os/exec"
	"runtime"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netns"
)

// inside runs f on a thread in the namespace.
func (s nftSpace) inside(f func()) {
	s.t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // the thread ends with the goroutine
		err := netns.Set(s.ns)
		if err == nil {
			f()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		s.t.Fatal(err)
	}
}

func TestOccupancyHasWhatNamespacesRoutesAndLinksHold(t *testing.T) {
	node, pod := newSpace(t), newSpace(t)
	node.sh(`set -e
ip neighbour replace 10.9.0.2 lladdr 02:00:00:00:00:01 dev ` + samplePodLink + ` nud permanent
ip neighbour replace 10.9.0.3 lladdr 02:00:00:00:00:01 dev ` + samplePodLink + ` nud stale
ip route add 10.9.0.4/32 dev eth0
ip -6 route add fd00:9::4/128 dev eth0
ip route add 10.8.0.0/16 dev eth0`)
	pod.sh("ip address add 203.0.113.77/24 dev eth0")
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	sleeper := exec.CommandContext(ctx, "sleep", "60")
	pod.inside(func() {
		if err := sleeper.Start(); err != nil {
			t.Error(err)
		}
	})
	if t.Failed() {
		return
	}
	defer func() {
		_ = sleeper.Process.Kill()
		_ = sleeper.Wait()
	}()
	var o Occupancy
	var err error
	node.inside(func() { o, err = ReadOccupancy(ctx) })
	if err != nil {
		t.Fatal(err)
	}
	if held := o.Holders[netip.MustParseAddr("203.0.113.77")]; len(held) != 1 {
		t.Errorf("203.0.113.77 is held by %v, want one path of the pod's namespace", held)
	}
	if !o.Node[netip.MustParseAddr("192.0.2.1")] || o.Node[netip.MustParseAddr("203.0.113.77")] {
		t.Errorf("the node has %v", o.Node)
	}
	routes := map[netip.Addr]string{netip.MustParseAddr("10.9.0.4"): "eth0", netip.MustParseAddr("fd00:9::4"): "eth0"}
	if diff := cmp.Diff(routes, o.Routes, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Errorf("routes (-want +got):\n%s", diff)
	}
	if got := o.PodLinks[samplePodLink]; len(got) != 1 || got[0] != netip.MustParseAddr("10.9.0.2") {
		t.Errorf("%s has %v", samplePodLink, got)
	}
}

func TestMountedNamespacesAreFoundInMountinfo(t *testing.T) {
	for line, want := range map[string]string{
		`52 28 0:4 net:[4026532281] /run/netns/a rw shared:30 - nsfs nsfs rw`:    "/run/netns/a",
		`52 28 0:4 net:[4026532281] /run/a\040b rw - nsfs nsfs rw`:               "/run/a b",
		`52 28 0:4 mnt:[4026532281] /run/mnt rw - nsfs nsfs rw`:                  "",
		`28 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw`:                 "",
		`52 28 0:4 net:[4026532281] /run/netns/a rw shared:30 -`:                 "",
		`52 28 0:4 net:[4026532281] - nsfs`:                                      "",
		``:                                                                       "",
		`28 1 254:0 / /net:[1] rw,relatime - tmpfs tmpfs rw`:                     "",
		`52 28 0:4 net:[1] /run/docker/netns/x rw shared:30 master:1 - nsfs n r`: "/run/docker/netns/x",
	} {
		got, ok := mountedNamespace(line)
		if got != want || ok != (want != "") {
			t.Errorf("%q gives %q, %v", line, got, ok)
		}
	}
}
