package main

import (
	"net"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ropeway-net/ropeway/kernel"
	"github.com/ropeway-net/ropeway/statedir"
)

// listening is a daemon that is told of retired links and never deletes any. The
// state directory moves to where the path of a socket is short enough.
func (n *testNode) listening() (dies func()) {
	n.t.Helper()
	short, err := os.MkdirTemp("", "rwp")
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { _ = os.RemoveAll(short) })
	n.state = statedir.Dir(short)
	ip(n.t, n.netns, "address", "add", "192.0.2.1/32", "dev", "lo") // to ping from
	var node unix.Stat_t
	if err = unix.Stat(n.netns, &node); err != nil {
		n.t.Fatal(err)
	}
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: n.state.RetiredSocket(node.Ino), Net: "unixgram"})
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { _ = l.Close() })
	return func() { _ = l.Close() }
}

// detached attaches a pod and detaches it while a daemon listens, which leaves
// the link and nothing else.
func (n *testNode) detached(c call) {
	n.t.Helper()
	n.add(c)
	rec := n.record(c.id)
	n.must(call{verb: "DEL", id: c.id, netns: c.netns, conf: c.conf})
	for _, left := range n.traces() {
		// The kernel keeps the route to the gateway's address as long as the link.
		if left != "link "+rec.HostLink && !strings.HasPrefix(left, "route ") || strings.Contains(left, "Dst: 10.99.0.") || strings.Contains(left, "Dst: fd99::") {
			n.t.Errorf("left besides the link: %s", left)
		}
	}
	if out := ip(n.t, n.netns, "link", "show", "group", "1920430080"); !strings.Contains(out, rec.HostLink) || strings.Contains(out, "UP") {
		n.t.Errorf("link %s is not retired: %s", rec.HostLink, out)
	}
}

func TestDelLeavesTheLinkToALivingDaemonAndTheNextVerbFindsItsNamesFree(t *testing.T) {
	if kernel.RetiredGroup != 1920430080 {
		t.Fatal("the test looks for another group")
	}
	for name, next := range map[string]string{"the same container": "a", "another container": "b"} {
		t.Run(name, func(t *testing.T) {
			n, pod := newNode(t), newNetns(t)
			n.listening()
			n.detached(call{id: "a", netns: pod, conf: n.conf()})
			n.must(call{verb: "DEL", id: "a", netns: pod, conf: n.conf()})
			r := n.add(call{id: next, netns: pod, conf: n.conf()})
			for _, address := range r.IPs {
				command(t, n.netns, "ping", "-c", "1", "-W", "2", address.Address.IP.String())
			}
			n.must(call{verb: "CHECK", id: next, netns: pod, conf: withPrevResult(t, n.conf(), r)})
		})
	}
}

func TestPodIsCutOffAsSoonAsDelReturns(t *testing.T) {
	n, pod, heir := newNode(t), newNetns(t), newNetns(t)
	n.listening()
	conf := n.conf("podCIDRs", []string{"10.99.0.0/30"})
	n.detached(call{id: "a", netns: pod, conf: conf})
	before := ip(t, pod, "-o", "addr", "show", "eth0")
	r := n.add(call{id: "b", netns: heir, conf: conf}) // the range has one address
	for _, address := range r.IPs {
		got := address.Address.IP.String()
		if !strings.Contains(before, got) {
			t.Errorf("%s is not what the first pod had: %s", got, before)
		}
		command(t, n.netns, "ping", "-c", "1", "-W", "2", got)
	}
	if out := ip(t, pod, "-o", "link", "show", "eth0"); !strings.Contains(out, "NO-CARRIER") {
		t.Errorf("the detached pod has a link that carries: %s", out)
	}
	n.must(call{verb: "DEL", id: "b", conf: conf})
}

func TestWhatADeadDaemonLeftIsDeletedByDelAndGC(t *testing.T) {
	for name, verb := range map[string]func(n *testNode){
		"DEL of another": func(n *testNode) {
			n.add(call{id: "b", netns: newNetns(n.t), conf: n.conf()})
			n.must(call{verb: "DEL", id: "b", conf: n.conf()})
		},
		"DEL again": func(n *testNode) { n.must(call{verb: "DEL", id: "a", conf: n.conf()}) },
		"GC": func(n *testNode) {
			n.must(call{verb: "GC", conf: n.conf("cni.dev/valid-attachments", []any{})})
		},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t)
			dies := n.listening()
			n.detached(call{id: "a", netns: newNetns(t), conf: n.conf()})
			dies()
			verb(n)
			n.wantNothingLeft()
		})
	}
}
