package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ropeway-net/ropeway/endpoint"
	"github.com/ropeway-net/ropeway/kernel"
)

// gc runs GC with a list of attachments, each with interface eth0.
func (n *testNode) gc(conf string, ids ...string) {
	n.t.Helper()
	listed := []any{}
	for _, id := range ids {
		listed = append(listed, attachment(id, "eth0"))
	}
	raw, err := json.Marshal(listed)
	if err != nil {
		n.t.Fatal(err)
	}
	n.must(call{verb: "GC", conf: strings.TrimSuffix(conf, "}") + `,"cni.dev/valid-attachments":` + string(raw) + "}"})
}

func TestGCRemovesWhatNoRecordNames(t *testing.T) {
	record := func(n *testNode) string { return filepath.Join(n.state.Endpoints(), "stale-eth0.json") }
	for name, damage := range map[string]func(n *testNode) error{
		"record missing": func(n *testNode) error { return os.Remove(record(n)) },
		"record torn":    func(n *testNode) error { return os.Truncate(record(n), 20) },
		"record a pipe": func(n *testNode) error {
			if err := os.Remove(record(n)); err != nil {
				return err
			}
			return syscall.Mkfifo(record(n), 0o600)
		},
		"a claim that is a pipe": func(n *testNode) error {
			return syscall.Mkfifo(filepath.Join(n.state.Endpoints(), ".tmp-other-eth0.json"), 0o600)
		},
		"reservations gone, too": func(n *testNode) error {
			networks, err := filepath.Glob(filepath.Join(n.networks, "demo", "*.*.*.3"))
			if err != nil || len(networks) != 1 {
				n.t.Fatalf("%q, %v", networks, err)
			}
			return os.Remove(networks[0])
		},
		"a link of ours by hand": func(n *testNode) error {
			ip(n.t, n.netns, "link", "add", endpoint.HostLink("hand", "eth0"), "type", "veth", "peer", "name", "gone")
			return nil
		},
		"a shaper without a link": func(n *testNode) error {
			ip(n.t, n.netns, "link", "add", kernel.ShaperLink(endpoint.HostLink("stale", "eth0")), "type", "ifb")
			ip(n.t, n.netns, "link", "del", endpoint.HostLink("stale", "eth0"))
			return os.Remove(record(n))
		},
		"a port to nobody": func(n *testNode) error {
			command(n.t, n.netns, "nft", "add element inet ropeway host-ports4 { tcp . 7777 : 10.99.0.77 . 80 }; add element inet ropeway hairpin4 { 10.99.0.88 . 10.99.0.88 }")
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t)
			n.add(call{id: "keep", netns: newNetns(t), conf: n.conf("runtimeConfig", ports(t, "8080:80/tcp"))})
			n.add(call{id: "other", netns: newNetns(t), conf: n.conf("name", "other", "podCIDRs", []string{"10.55.0.0/24"}, "runtimeConfig", ports(t, "8082:80/tcp"))})
			traces, elements := n.traces(), n.elements()
			n.add(call{id: "stale", netns: newNetns(t), conf: n.conf("runtimeConfig", ports(t, "8081:80/tcp"))})
			if err := damage(n); err != nil {
				t.Fatal(err)
			}
			n.gc(n.conf(), "keep")
			if d := cmp.Diff(traces, n.traces()); d != "" {
				t.Errorf("traces (-want +got):\n%s", d)
			}
			if d := cmp.Diff(elements, n.elements()); d != "" {
				t.Errorf("elements (-want +got):\n%s", d)
			}
		})
	}
}

func TestGCKeepsWhatTheRuntimeListsEvenWithoutARecord(t *testing.T) {
	for name, damage := range map[string]func(path string) error{
		"missing": os.Remove,
		"torn":    func(path string) error { return os.Truncate(path, 20) },
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t)
			n.add(call{id: "keep", netns: newNetns(t), conf: n.conf("runtimeConfig", ports(t, "8080:80/tcp"))})
			if err := damage(filepath.Join(n.state.Endpoints(), "keep-eth0.json")); err != nil {
				t.Fatal(err)
			}
			traces, elements := n.traces(), n.elements()
			n.gc(n.conf(), "keep")
			if d := cmp.Diff(traces, n.traces()); d != "" {
				t.Errorf("traces (-want +got):\n%s", d)
			}
			if d := cmp.Diff(elements, n.elements()); d != "" {
				t.Errorf("elements (-want +got):\n%s", d)
			}
		})
	}
}

// Networks with state directories of their own know nothing of each other's
// records; the kernel has the links of both.
func TestGCLeavesNetworksWithAnotherStateDirectoryAlone(t *testing.T) {
	n, pod := newNode(t), newNetns(t)
	elsewhere := filepath.Join(t.TempDir(), "elsewhere")
	n.add(call{id: "a", netns: pod, conf: n.conf("name", "other", "stateDir", elsewhere, "podCIDRs", []string{"10.55.0.0/24"}, "runtimeConfig", ports(t, "8080:80/tcp"))})
	traces, elements := n.traces(), n.elements()
	n.gc(n.conf())
	if d := cmp.Diff(traces, n.traces()); d != "" {
		t.Errorf("traces (-want +got):\n%s", d)
	}
	if d := cmp.Diff(elements, n.elements()); d != "" {
		t.Errorf("elements (-want +got):\n%s", d)
	}
	command(t, n.netns, "ping", "-c", "1", "-W", "2", "-I", "169.254.1.1", "10.55.0.2")
}
