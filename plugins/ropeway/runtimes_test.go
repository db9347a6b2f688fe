package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/types"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/ropeway-net/ropeway/endpoint"
)

// containerd attaches a pod to loopback and to the network at the same time, in
// the same namespace, although the specification forbids it.
func TestAddGoesOnWhileLoopbackIsSetUpInTheSameNamespace(t *testing.T) {
	n := newNode(t)
	n.reference("loopback")
	r := newRuntime(t, n)
	lo, err := libcni.NetworkConfFromBytes([]byte(`{"cniVersion":"0.3.1","name":"cni-loopback","plugins":[{"type":"loopback"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	list := r.list(n.ours())
	for i := range 5 {
		pod := newNetns(t)
		id := fmt.Sprint("a", i)
		both := make(chan error, 2)
		for ifName, l := range map[string]*libcni.NetworkConfigList{"lo": lo, "eth0": list} {
			own := *r.cni // one is not for two goroutines
			go func() {
				in(t, n.netns, func() {
					_, err := own.AddNetworkList(t.Context(), l, &libcni.RuntimeConf{ContainerID: id, NetNS: pod, IfName: ifName})
					both <- err
				})
			}()
		}
		for range 2 {
			if err := <-both; err != nil {
				t.Error(err)
			}
		}
		command(t, pod, "ping", "-c", "1", "-W", "2", "127.0.0.1")
		command(t, pod, "ping", "-c", "1", "-W", "2", "169.254.1.1")
		rt := &libcni.RuntimeConf{ContainerID: id, NetNS: pod, IfName: "eth0"}
		r.do("CHECK", func(ctx context.Context) error { return r.cni.CheckNetworkList(ctx, list, rt) })
		r.do("DEL", func(ctx context.Context) error { return r.cni.DelNetworkList(ctx, list, rt) })
	}
	n.wantNothingLeft()
}

// CRI-O calls GC when it starts; libcni first calls DEL for each attachment of
// its cache that is not listed, with the path of a namespace that is gone.
func TestStaleDelsAndGCAtTheStartOfARuntime(t *testing.T) {
	n := newNode(t)
	n.reference("loopback") // for the link to ourselves
	r := newRuntime(t, n)
	list := r.list(n.ours())
	pods := map[string]string{}
	for _, id := range []string{"keep", "gone", "cleared"} {
		pods[id] = newNetns(t)
		rt := &libcni.RuntimeConf{ContainerID: id, NetNS: pods[id], IfName: "eth0"}
		r.do("ADD", func(ctx context.Context) error { _, err := r.cni.AddNetworkList(ctx, list, rt); return err })
	}
	dropNetns(t, pods["gone"])
	dropNetns(t, pods["cleared"])
	if err := os.Remove(pods["cleared"]); err != nil {
		t.Fatal(err)
	}
	// One that the cache does not know, as after its loss.
	n.add(call{id: "uncached", netns: newNetns(t), conf: n.conf()})
	kept := n.record("keep")
	for range 2 {
		r.do("GC", func(ctx context.Context) error {
			return r.cni.GCNetworkList(ctx, list, &libcni.GCArgs{ValidAttachments: []types.GCAttachment{{ContainerID: "keep", IfName: "eth0"}}})
		})
	}
	records, err := endpoint.Store{Dir: n.state.Endpoints()}.List()
	if err != nil || len(records) != 1 || records[0].ContainerID != "keep" {
		t.Errorf("records %v, error %v", records, err)
	}
	rt := &libcni.RuntimeConf{ContainerID: "keep", NetNS: pods["keep"], IfName: "eth0"}
	r.do("CHECK", func(ctx context.Context) error { return r.cni.CheckNetworkList(ctx, list, rt) })
	command(t, n.netns, "ping", "-c", "1", "-W", "2", "-I", "169.254.1.1", kept.Addresses[0].String())
	r.do("GC", func(ctx context.Context) error { return r.cni.GCNetworkList(ctx, list, &libcni.GCArgs{}) })
	n.wantNothingLeft()
}

func TestTwoNetworksOnOneNodeKeepToThemselves(t *testing.T) {
	n, pod := newNode(t), newNetns(t)
	one := n.conf("name", "demo")
	two := n.conf("name", "second", "podCIDRs", []string{"10.55.0.0/24", "fd55::/64"})
	first := n.add(call{id: "a", netns: pod, conf: one})
	second := n.add(call{id: "a", netns: pod, ifName: "eth1", conf: two})
	n.must(call{verb: "CHECK", id: "a", netns: pod, conf: withPrevResult(t, one, first)})
	n.must(call{verb: "CHECK", id: "a", netns: pod, ifName: "eth1", conf: withPrevResult(t, two, second)})
	n.add(call{id: "b", netns: newNetns(t), conf: one})
	n.gc(one)
	n.must(call{verb: "CHECK", id: "a", netns: pod, ifName: "eth1", conf: withPrevResult(t, two, second)})
	command(t, n.netns, "ping", "-c", "1", "-W", "2", "-I", "169.254.1.1", "10.55.0.2")
	// A container is what the runtime says it is: DEL of the other network, too.
	n.must(call{verb: "DEL", id: "a", ifName: "eth1", conf: two})
	n.wantNothingLeft()
	if left, err := filepath.Glob(filepath.Join(n.networks, "second", "10.*")); err != nil || len(left) > 0 {
		t.Errorf("left %q, %v", left, err)
	}
}

// tcpdump makes an interface promiscuous, which the reference bridge takes for
// a fault.
func TestCheckPassesWhileSomebodyCaptures(t *testing.T) {
	n, pod := newNode(t), newNetns(t)
	r := n.add(call{id: "a", netns: pod, conf: n.conf()})
	capture(t, n.netns, n.record("a").HostLink)
	capture(t, pod, "eth0")
	if flags := ip(t, n.netns, "-d", "link", "show", "dev", n.record("a").HostLink); !strings.Contains(flags, "promiscuity 1") {
		t.Fatalf("nobody captures: %s", flags)
	}
	n.must(call{verb: "CHECK", id: "a", netns: pod, conf: withPrevResult(t, n.conf(), r)})
}

// capture opens a packet socket in promiscuous mode until the test ends.
func capture(t *testing.T, netns, link string) {
	t.Helper()
	in(t, netns, func() {
		const everything = 0x0300 // ETH_P_ALL in network order
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, everything)
		if err != nil {
			t.Error(err)
			return
		}
		t.Cleanup(func() { _ = unix.Close(fd) })
		l, err := netlink.LinkByName(link)
		if err == nil {
			err = unix.SetsockoptPacketMreq(fd, unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP, &unix.PacketMreq{Ifindex: int32(l.Attrs().Index), Type: unix.PACKET_MR_PROMISC})
		}
		if err != nil {
			t.Error(err)
		}
	})
}
