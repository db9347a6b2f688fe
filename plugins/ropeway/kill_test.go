package main

import (
	"encoding/json"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/ropeway-net/ropeway/endpoint"
)

// killAdd runs an ADD and kills it after a while.
func (n *testNode) killAdd(c call, after time.Duration) {
	n.t.Helper()
	in(n.t, n.netns, func() {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), runAsPlugin+"=1", "CNI_COMMAND=ADD", "CNI_CONTAINERID="+c.id,
			"CNI_NETNS="+c.netns, "CNI_IFNAME=eth0", "CNI_PATH="+n.cniPath)
		cmd.Stdin = strings.NewReader(c.conf)
		if err := cmd.Start(); err != nil {
			n.t.Error(err)
			return
		}
		time.AfterFunc(after, func() { _ = cmd.Process.Kill() })
		_ = cmd.Wait()
	})
}

// TestKilledAddLeavesNothingBehindDelOrGC kills ADD at random moments. DEL
// takes all of it away at once, also after another ADD of the same container
// which was killed or not; GC takes away what no DEL came for.
func TestKilledAddLeavesNothingBehindDelOrGC(t *testing.T) {
	n, pod := newNode(t), newNetns(t)
	c := call{id: "a", netns: pod, conf: n.conf()}
	moment := func() time.Duration { return time.Duration(rand.Int64N(int64(30 * time.Millisecond))) }
	for range 12 {
		n.killAdd(c, moment())
		n.killAdd(c, moment())
		_, _ = n.run(call{verb: "ADD", id: "a", netns: pod, conf: n.conf()}) // it may find the interface
		n.must(call{verb: "DEL", id: "a", conf: n.conf()})
		n.wantNothingLeft()
		if t.Failed() {
			return
		}
	}
	for range 6 {
		n.killAdd(c, moment())
		n.must(call{verb: "GC", conf: n.conf("cni.dev/valid-attachments", json.RawMessage("null"))})
		n.wantNothingLeft()
	}
}

func TestTwoAddsOfOneAttachmentDoNotUndoEachOther(t *testing.T) {
	n, pod := newNode(t), newNetns(t)
	claim, err := endpoint.Store{Dir: n.state.Endpoints()}.Claim("a", "eth0")
	if err != nil {
		t.Fatal(err)
	}
	n.wantError(call{verb: "ADD", id: "a", netns: pod, conf: n.conf()}, types.ErrTryAgainLater, "being attached by another process", "DEL")
	if err := claim.Release(); err != nil {
		t.Fatal(err)
	}
	n.add(call{id: "a", netns: pod, conf: n.conf()})
	n.must(call{verb: "DEL", id: "a", conf: n.conf()})
	n.wantNothingLeft()
}
