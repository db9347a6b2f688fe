package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/containernetworking/cni/pkg/types"
	"github.com/google/go-cmp/cmp"

	"github.com/ropeway-net/ropeway/endpoint"
)

func attachment(id, ifName string) map[string]string {
	return map[string]string{"containerID": id, "ifname": ifName}
}

func TestGCRemovesWhatIsNotListed(t *testing.T) {
	for _, key := range []string{"cni.dev/valid-attachments", "cni.dev/attachments"} {
		t.Run(key, func(t *testing.T) {
			n, pod := newNode(t), newNetns(t)
			n.add(call{id: "keep", netns: pod, conf: n.conf()})
			n.add(call{id: "keep", netns: pod, ifName: "eth1", conf: n.conf()})
			n.add(call{id: "stale", netns: newNetns(t), conf: n.conf()})
			if err := os.WriteFile(filepath.Join(n.networks, "demo", "10.99.0.9"), []byte("unrecorded\r\neth0"), 0o600); err != nil {
				t.Fatal(err)
			}
			n.must(call{verb: "GC", conf: n.conf(key, []any{attachment("keep", "eth0")})})
			n.must(call{verb: "DEL", id: "none", conf: n.conf()})
			want := []string{"file keep-eth0.json", "file 10.99.0.2", "file fd99::2"}
			if diff := cmp.Diff(want, n.traces()[:3]); diff != "" {
				t.Errorf("files (-want +got):\n%s", diff)
			}
			command(t, n.netns, "ping", "-c", "1", "-W", "2", "-I", "169.254.1.1", "10.99.0.2")
			n.must(call{verb: "GC", conf: n.conf(key, []any{})})
			n.wantNothingLeft()
		})
	}
}

func TestGCWithoutAListRemovesNothing(t *testing.T) {
	n := newNode(t)
	n.add(call{id: "a", netns: newNetns(t), conf: n.conf()})
	before := n.traces()
	n.wantError(call{verb: "GC", conf: n.conf()}, types.ErrInvalidNetworkConfig, "cni.dev/valid-attachments")
	n.wantError(call{verb: "GC", conf: n.conf("cni.dev/valid-attachments", "all")}, types.ErrDecodingFailure, "valid-attachments")
	if diff := cmp.Diff(before, n.traces()); diff != "" {
		t.Errorf("something changed (-before +after):\n%s", diff)
	}
}

func TestGCLeavesOtherNetworksAlone(t *testing.T) {
	n := newNode(t)
	n.add(call{id: "a", netns: newNetns(t), conf: n.conf("name", "other")})
	before := n.traces()
	n.must(call{verb: "GC", conf: n.conf("cni.dev/valid-attachments", []any{})})
	if diff := cmp.Diff(before, n.traces()); diff != "" {
		t.Errorf("something changed (-before +after):\n%s", diff)
	}
	if _, err := os.Stat(filepath.Join(n.networks, "other", "10.99.0.2")); err != nil {
		t.Error(err)
	}
}

func TestGCGoesOnAfterErrorsAndReportsThem(t *testing.T) {
	n := newNode(t)
	n.fakeIPAM("fake", `[ "$CNI_COMMAND" = ADD ] && echo '{"cniVersion":"1.1.0","ips":[{"address":"10.77.0.5/24"}]}' && exit
		echo '{"code": 11, "msg": "lease server is away"}'; exit 1`)
	n.add(call{id: "stuck", netns: newNetns(t), conf: n.conf("ipam", map[string]any{"type": "fake"})})
	n.add(call{id: "stale", netns: newNetns(t), conf: n.conf()})
	damaged := filepath.Join(n.state.Endpoints(), "x-eth0.json")
	if err := os.MkdirAll(filepath.Join(damaged, "not empty"), 0o700); err != nil {
		t.Fatal(err)
	}
	n.wantError(call{verb: "GC", conf: n.conf("cni.dev/valid-attachments", []any{})}, codeGC,
		"network demo", "container stuck (eth0)", "lease server is away", damaged)
	records, err := endpoint.Store{Dir: n.state.Endpoints()}.List()
	if err == nil || len(records) != 1 || records[0].ContainerID != "stuck" {
		t.Errorf("records %v, error %v", records, err)
	}
	if left := kernelTraces(t, n.netns); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}
