package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/ropeway-net/ropeway/endpoint"
)

func TestDelSucceedsAgainAndAgain(t *testing.T) {
	n, pod := newNode(t), newNetns(t)
	n.must(call{verb: "DEL", id: "a", netns: pod, conf: n.conf()}) // before any ADD
	n.add(call{id: "a", netns: pod, conf: n.conf()})
	for range 3 {
		n.must(call{verb: "DEL", id: "a", netns: pod, conf: n.conf()})
		n.wantNothingLeft()
	}
	if left := kernelTraces(t, pod); len(left) > 0 {
		t.Errorf("left in the pod: %q", left)
	}
}

func TestDelNeedsNoNamespace(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, path := range map[string]string{"empty": "", "missing": file + ".missing", "a file": file} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t)
			n.add(call{id: "a", netns: newNetns(t), conf: n.conf()})
			n.must(call{verb: "DEL", id: "a", netns: path, conf: n.conf()})
			n.wantNothingLeft()
		})
	}
}

func TestDelSucceedsWhenTheNamespaceIsGone(t *testing.T) {
	n, pod := newNode(t), newNetns(t)
	n.add(call{id: "a", netns: pod, conf: n.conf()})
	dropNetns(t, pod)
	n.must(call{verb: "DEL", id: "a", netns: pod, conf: n.conf()})
	n.wantNothingLeft()
}

func TestDelWorksAfterTheConfigurationChanged(t *testing.T) {
	for name, pairs := range map[string][]any{
		"no pod CIDRs and no node.json": {"podCIDRs", nil},
		"other pod CIDRs":               {"podCIDRs", []string{"10.55.0.0/16"}},
		"invalid pod CIDRs":             {"podCIDRs", []string{"nonsense"}},
		"wrong type":                    {"mtu", "large"},
		"unknown key":                   {"colour", "green"},
		"other IPAM":                    {"ipam", map[string]any{"type": "host-local"}},
		"no IPAM":                       {"ipam", nil},
		"other network name":            {"name", "renamed"},
		"older version":                 {"cniVersion", "0.3.1"},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t)
			n.add(call{id: "a", netns: newNetns(t), conf: n.conf()})
			n.must(call{verb: "DEL", id: "a", conf: n.conf(pairs...)})
			n.wantNothingLeft()
		})
	}
}

func TestDelFindsWhatNoRecordNames(t *testing.T) {
	for name, damage := range map[string]func(path string) error{
		"missing": os.Remove,
		"empty":   func(p string) error { return os.Truncate(p, 0) },
		"torn":    func(p string) error { return os.Truncate(p, 20) },
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t)
			n.add(call{id: "a", netns: newNetns(t), conf: n.conf()})
			if err := damage(filepath.Join(n.state.Endpoints(), "a-eth0.json")); err != nil {
				t.Fatal(err)
			}
			n.must(call{verb: "DEL", id: "a", conf: n.conf()})
			n.wantNothingLeft()
		})
	}
}

func TestDelLeavesOtherAttachmentsAlone(t *testing.T) {
	n, pod := newNode(t), newNetns(t)
	n.add(call{id: "a", netns: pod, conf: n.conf()})
	n.add(call{id: "a", netns: pod, ifName: "eth1", conf: n.conf()})
	n.add(call{id: "b", netns: newNetns(t), conf: n.conf()})
	n.must(call{verb: "DEL", id: "a", ifName: "eth1", conf: n.conf()})
	command(t, pod, "ping", "-c", "1", "-W", "2", "10.99.0.4")
	if left := n.traces(); strings.Contains(strings.Join(left, " "), "a-eth1") || len(left) == 0 {
		t.Errorf("left: %q", left)
	}
}

func TestDelOfAnEarlierBootsAttachmentWorks(t *testing.T) {
	n := newNode(t)
	n.add(call{id: "a", netns: newNetns(t), conf: n.conf()})
	rec := n.record("a")
	rec.BootID = "earlier"
	if err := (endpoint.Store{Dir: n.state.Endpoints()}).Write(rec); err != nil {
		t.Fatal(err)
	}
	ip(t, n.netns, "link", "delete", rec.HostLink)
	n.must(call{verb: "DEL", id: "a", conf: n.conf()})
	n.wantNothingLeft()
}

func TestDelKeepsTheRecordUntilTheAddressIsGivenBack(t *testing.T) {
	n := newNode(t)
	n.fakeIPAM("fake", `[ "$CNI_COMMAND" = ADD ] && echo '{"cniVersion":"1.1.0","ips":[{"address":"10.77.0.5/24"}]}' && exit
		[ -e `+n.cniPath+`/broken ] || exit 0
		echo '{"code": 11, "msg": "lease server is away"}'; exit 1`)
	conf := n.conf("mtu", 1400, "podCIDRs", nil, "ipam", map[string]any{"type": "fake"})
	n.add(call{id: "a", netns: newNetns(t), conf: conf})
	broken := filepath.Join(n.cniPath, "broken")
	if err := os.WriteFile(broken, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	n.wantError(call{verb: "DEL", id: "a", conf: conf}, types.ErrTryAgainLater, "fake", "lease server is away")
	n.record("a")
	if left := kernelTraces(t, n.netns); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
	if err := os.Remove(broken); err != nil {
		t.Fatal(err)
	}
	n.must(call{verb: "DEL", id: "a", conf: conf})
	n.wantNothingLeft()
}

// fakeIPAM installs a shell script as an IPAM plugin; it notes each call in
// calls: verb, container, interface and its standard input.
func (n *testNode) fakeIPAM(name, script string) {
	n.t.Helper()
	text := "#!/bin/sh\nexec 3>>" + n.calls() + "\necho \"$CNI_COMMAND $CNI_CONTAINERID $CNI_IFNAME $(cat)\" >&3\n" + script + "\n"
	if err := os.WriteFile(filepath.Join(n.cniPath, name), []byte(text), 0o755); err != nil {
		n.t.Fatal(err)
	}
}

func (n *testNode) calls() string { return filepath.Join(n.cniPath, "calls") }
