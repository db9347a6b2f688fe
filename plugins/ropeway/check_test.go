package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"

	"github.com/ropeway-net/ropeway/endpoint"
)

// withPrevResult puts a result into a network configuration.
func withPrevResult(t testing.TB, conf string, r *types100.Result) string {
	t.Helper()
	var c map[string]any
	if err := json.Unmarshal([]byte(conf), &c); err != nil {
		t.Fatal(err)
	}
	previous, err := r.GetAsVersion(c["cniVersion"].(string))
	if err != nil {
		t.Fatal(err)
	}
	c["prevResult"] = previous
	b, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestCheckPassesRightAfterAdd(t *testing.T) {
	for _, version := range []string{"1.1.0", "1.0.0", "0.4.0"} {
		n, pod := newNode(t), newNetns(t)
		conf := n.conf("cniVersion", version)
		r := n.add(call{id: "a", netns: pod, conf: conf})
		n.must(call{verb: "CHECK", id: "a", netns: pod, conf: withPrevResult(t, conf, r)})
	}
}

func TestCheckNamesTheObjectThatDiffers(t *testing.T) {
	link := endpoint.HostLink("a", "eth0")
	for name, tt := range map[string]struct {
		onPod  []string // ip command
		onNode []string
		words  []string
	}{
		"pod interface down":      {onPod: []string{"link", "set", "eth0", "down"}, words: []string{"interface eth0 in ", "is down"}},
		"pod interface gone":      {onPod: []string{"link", "delete", "eth0"}, words: []string{"interface eth0 in "}},
		"pod MAC":                 {onPod: []string{"link", "set", "eth0", "address", "02:00:00:00:00:77"}, words: []string{"eth0", "02:00:00:00:00:77"}},
		"pod MTU":                 {onPod: []string{"link", "set", "eth0", "mtu", "1600"}, words: []string{"eth0", "MTU 1600"}},
		"pod IPv4 address":        {onPod: []string{"address", "delete", "10.99.0.2/32", "dev", "eth0"}, words: []string{"address 10.99.0.2 is not on eth0"}},
		"pod IPv6 address":        {onPod: []string{"address", "delete", "fd99::2/128", "dev", "eth0"}, words: []string{"address fd99::2 is not on eth0"}},
		"pod IPv4 route":          {onPod: []string{"route", "delete", "default"}, words: []string{"no route to 0.0.0.0/0"}},
		"pod IPv6 route":          {onPod: []string{"-6", "route", "delete", "default"}, words: []string{"no route to ::/0"}},
		"pod neighbour":           {onPod: []string{"neigh", "delete", "169.254.1.1", "dev", "eth0"}, words: []string{"neighbour 169.254.1.1 on eth0"}},
		"pod neighbour forged":    {onPod: []string{"neigh", "replace", "fe80::1", "lladdr", "02:00:00:00:00:77", "dev", "eth0"}, words: []string{"neighbour fe80::1", "02:00:00:00:00:77"}},
		"host link down":          {onNode: []string{"link", "set", link, "down"}, words: []string{link + " is down"}},
		"host link MAC":           {onNode: []string{"link", "set", link, "address", "02:00:00:00:00:77"}, words: []string{link, "02:00:00:00:00:77"}},
		"gateway address":         {onNode: []string{"address", "delete", "169.254.1.1/32", "dev", link}, words: []string{"169.254.1.1", link}},
		"host IPv4 route":         {onNode: []string{"route", "delete", "10.99.0.2"}, words: []string{"route to 10.99.0.2", link}},
		"host IPv6 route":         {onNode: []string{"-6", "route", "delete", "fd99::2"}, words: []string{"route to fd99::2", link}},
		"host route to elsewhere": {onNode: []string{"route", "replace", "10.99.0.2", "dev", "lo"}, words: []string{"route to 10.99.0.2", link}},
		"host neighbour":          {onNode: []string{"neigh", "delete", "fd99::2", "dev", link}, words: []string{"neighbour fd99::2", link}},
	} {
		t.Run(name, func(t *testing.T) {
			n, pod := newNode(t), newNetns(t)
			r := n.add(call{id: "a", netns: pod, conf: n.conf()})
			if tt.onPod != nil {
				ip(t, pod, tt.onPod...)
			}
			if tt.onNode != nil {
				ip(t, n.netns, tt.onNode...)
			}
			n.wantError(call{verb: "CHECK", id: "a", netns: pod, conf: withPrevResult(t, n.conf(), r)}, codeDiffers, tt.words...)
		})
	}
}

func TestCheckNamesMissingFilesAndSysctls(t *testing.T) {
	link := endpoint.HostLink("a", "eth0")
	for name, tt := range map[string]struct {
		damage func(n *testNode) error
		word   string
	}{
		"record":      {func(n *testNode) error { return os.Remove(filepath.Join(n.state.Endpoints(), "a-eth0.json")) }, "no endpoint record"},
		"torn record": {func(n *testNode) error { return os.Truncate(filepath.Join(n.state.Endpoints(), "a-eth0.json"), 5) }, "endpoint record is not valid"},
		"reservation": {func(n *testNode) error { return os.Remove(filepath.Join(n.networks, "demo", "10.99.0.2")) }, "10.99.0.2"},
		"reverse path": {func(n *testNode) error {
			command(n.t, n.netns, "sh", "-c", "echo 0 >/proc/sys/net/ipv4/conf/"+link+"/rp_filter")
			return nil
		}, link + "/rp_filter is 0"},
	} {
		t.Run(name, func(t *testing.T) {
			n, pod := newNode(t), newNetns(t)
			r := n.add(call{id: "a", netns: pod, conf: n.conf()})
			if err := tt.damage(n); err != nil {
				t.Fatal(err)
			}
			n.wantError(call{verb: "CHECK", id: "a", netns: pod, conf: withPrevResult(t, n.conf(), r)}, codeDiffers, tt.word)
		})
	}
}

func TestCheckComparesWithPrevResult(t *testing.T) {
	n, pod := newNode(t), newNetns(t)
	r := n.add(call{id: "a", netns: pod, conf: n.conf()})
	n.wantError(call{verb: "CHECK", id: "a", netns: pod, conf: n.conf()}, types.ErrInvalidNetworkConfig, "prevResult")
	n.wantError(call{verb: "CHECK", id: "a", netns: pod, conf: n.conf("prevResult", "text")}, types.ErrDecodingFailure, "prevResult")

	other := *r
	other.IPs = r.IPs[:1]
	n.wantError(call{verb: "CHECK", id: "a", netns: pod, conf: withPrevResult(t, n.conf(), &other)}, codeDiffers, "fd99::2", "prevResult")
	other = *r
	other.Interfaces = r.Interfaces[:1]
	other.IPs = nil
	n.wantError(call{verb: "CHECK", id: "a", netns: pod, conf: withPrevResult(t, n.conf(), &other)}, codeDiffers, "eth0", "prevResult")
}

func TestCheckAllowsWhatLaterPluginsOfTheChainChanged(t *testing.T) {
	n, pod := newNode(t), newNetns(t)
	r := n.add(call{id: "a", netns: pod, conf: n.conf()})
	ip(t, pod, "link", "set", "eth0", "mtu", "1300")
	// Moved to a table of its own, as source based routing does.
	ip(t, pod, "route", "delete", "default")
	ip(t, pod, "route", "add", "default", "via", "169.254.1.1", "dev", "eth0", "table", "100")
	// Taken away, in the kernel and in the result.
	ip(t, pod, "-6", "route", "delete", "default")
	r.Routes = r.Routes[:1]
	n.must(call{verb: "CHECK", id: "a", netns: pod, conf: withPrevResult(t, n.conf(), r)})
}
