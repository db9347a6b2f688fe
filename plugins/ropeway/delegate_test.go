package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containernetworking/cni/pkg/types"
	"github.com/google/go-cmp/cmp"

	"github.com/ropeway-net/ropeway/plugins/protocol"
)

const succeed = `case $CNI_COMMAND in ADD) echo '{"cniVersion":"1.1.0",
	"ips":[{"address":"10.77.0.5/24","gateway":"10.77.0.1"},{"address":"fd77::5/64"}],
	"routes":[{"dst":"10.0.0.0/8","gw":"10.77.0.1"}],"dns":{"nameservers":["10.77.0.1"]}}';; esac`

func TestOtherIPAMPluginsAreExecuted(t *testing.T) {
	n, pod := newNode(t), newNetns(t)
	n.fakeIPAM("fake", succeed)
	conf := n.conf("mtu", 1400, "podCIDRs", nil, "ipam", map[string]any{"type": "fake", "pool": "x"})
	r := n.add(call{id: "a", netns: pod, conf: conf})
	if got := r.IPs[0].Address.String() + " " + r.IPs[0].Gateway.String(); got != "10.77.0.5/32 169.254.1.1" {
		t.Errorf("address and gateway are %s", got)
	}
	if diff := cmp.Diff([]string{"10.77.0.1"}, r.DNS.Nameservers); diff != "" {
		t.Error(diff)
	}
	if out := ip(t, pod, "route"); !strings.Contains(out, "10.0.0.0/8 via 169.254.1.1 dev eth0") {
		t.Errorf("routes of the pod:\n%s", out)
	}
	n.must(call{verb: "STATUS", conf: conf})
	n.must(call{verb: "CHECK", id: "a", netns: pod, conf: withPrevResult(t, conf, r)})
	// DEL goes to the plugin of ADD with the configuration of ADD.
	n.must(call{verb: "DEL", id: "a", conf: n.conf()})
	n.must(call{verb: "GC", conf: n.conf("ipam", map[string]any{"type": "fake"}, "cni.dev/valid-attachments", []any{})})
	n.wantNothingLeft()
	calls, err := os.ReadFile(n.calls())
	if err != nil {
		t.Fatal(err)
	}
	var verbs []string
	for _, line := range strings.Split(strings.TrimSpace(string(calls)), "\n") {
		f := strings.Fields(line)
		verbs = append(verbs, f[0])
		if f[0] == "DEL" && (f[1] != "a" || !strings.Contains(line, `"pool":"x"`)) {
			t.Errorf("DEL was called with %s", line)
		}
		if f[0] == "CHECK" && !strings.Contains(line, `"prevResult"`) {
			t.Errorf("CHECK was called without prevResult: %s", line)
		}
	}
	if diff := cmp.Diff([]string{"ADD", "STATUS", "CHECK", "DEL", "GC"}, verbs); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
}

func TestFailingIPAMPluginLeavesNothing(t *testing.T) {
	for name, tt := range map[string]struct {
		script string
		code   uint
		words  []string
	}{
		"its own code is kept":    {`[ $CNI_COMMAND = DEL ] && exit; echo '{"code": 100, "msg": "pool empty"}'; exit 1`, 100, []string{"fake", "pool empty"}},
		"it says nothing":         {`[ $CNI_COMMAND = DEL ] && exit; exit 3`, codeDelegate, []string{"fake", "exit status 3"}},
		"it speaks to stderr":     {`[ $CNI_COMMAND = DEL ] && exit; echo oops >&2; exit 1`, codeDelegate, []string{"oops"}},
		"its result is no JSON":   {`echo hello`, codeDelegate, []string{"fake", "result"}},
		"its result is empty":     {`echo '{"cniVersion":"1.1.0"}'`, codeDelegate, []string{"no address"}},
		"its result is of no use": {`echo '{"cniVersion":"1.1.0","ips":[{"address":"0.0.0.0/0"}]}'`, codeDelegate, []string{"0.0.0.0"}},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t)
			n.fakeIPAM("fake", tt.script)
			n.wantError(call{verb: "ADD", id: "a", netns: newNetns(t), conf: n.conf("ipam", map[string]any{"type": "fake"})}, tt.code, tt.words...)
			n.wantNothingLeft()
			calls, err := os.ReadFile(n.calls())
			if err != nil || !strings.Contains(string(calls), "\nDEL a eth0") {
				t.Errorf("the plugin was not called to clean up: %s, %v", calls, err)
			}
		})
	}
}

func TestMissingIPAMPluginIsNamed(t *testing.T) {
	n := newNode(t)
	for _, kind := range []string{"nowhere", "../ropeway", ".."} {
		n.wantError(call{verb: "ADD", id: "a", netns: newNetns(t), conf: n.conf("ipam", map[string]any{"type": kind})},
			types.ErrInvalidNetworkConfig, kind)
	}
	n.wantNothingLeft()
}

func TestPluginThatIsItsOwnIPAMIsRefusedAtOnce(t *testing.T) {
	n := newNode(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	n.cniPath = filepath.Dir(self)
	conf := n.conf("ipam", map[string]any{"type": filepath.Base(self)})
	n.wantError(call{verb: "STATUS", conf: conf}, types.ErrInvalidNetworkConfig, "this plugin itself")
	n.wantError(call{verb: "ADD", id: "a", netns: newNetns(t), conf: conf}, types.ErrInvalidNetworkConfig, "this plugin itself")
	n.wantNothingLeft()
}

func TestHangingIPAMPluginIsStoppedWithItsChildren(t *testing.T) {
	n := newNode(t)
	n.fakeIPAM("fake", "sleep 5 & sleep 5")
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	start := time.Now()
	d := delegate{kind: "fake", netconf: []byte(n.conf()), args: &protocol.Args{Path: n.cniPath}}
	_, err := d.run(ctx, "ADD")
	if e := cniError("test", err); err == nil || e.Code != types.ErrTryAgainLater {
		t.Errorf("error %v, want code %d", err, types.ErrTryAgainLater)
	}
	if took := time.Since(start); took > 4*time.Second {
		t.Errorf("it took %s: the children's pipes were waited for", took)
	}
}
