package main

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containernetworking/cni/pkg/types"
	"github.com/google/go-cmp/cmp"

	"github.com/ropeway-net/ropeway/bandwidth"
	"github.com/ropeway-net/ropeway/endpoint"
	"github.com/ropeway-net/ropeway/kernel"
)

func limits(pairs ...any) map[string]any {
	m := map[string]any{}
	for i := 0; i < len(pairs); i += 2 {
		m[pairs[i].(string)] = pairs[i+1]
	}
	return map[string]any{"bandwidth": m}
}

// bothWays are 10 and 20 Mbit/s as containerd passes them.
func bothWays() map[string]any {
	return limits("IngressRate", 10_000_000, "IngressBurst", math.MaxUint32, "EgressRate", 20_000_000, "EgressBurst", math.MaxUint32)
}

func TestLimitsAreOnTheNodesEndInTheRecordAndGoWithDel(t *testing.T) {
	for key, runtime := range map[string]map[string]any{
		"containerd": bothWays(),
		"spec":       limits("ingressRate", 10_000_000, "ingressBurst", math.MaxUint32, "egressRate", 20_000_000, "egressBurst", math.MaxUint32),
	} {
		t.Run(key, func(t *testing.T) {
			n, pod := newNode(t), newNetns(t)
			conf := n.conf("runtimeConfig", runtime)
			r := n.add(call{id: "a", netns: pod, conf: conf})
			link := endpoint.HostLink("a", "eth0")
			for dev, want := range map[string]string{
				link:                    "rate 10Mbit burst 6250b",
				kernel.ShaperLink(link): "rate 20Mbit burst 12500b",
			} {
				if out := command(t, n.netns, "tc", "qdisc", "show", "dev", dev); !strings.Contains(out, want) {
					t.Errorf("%s has %s, want %s", dev, out, want)
				}
			}
			if out := command(t, pod, "tc", "qdisc", "show", "dev", "eth0"); !strings.Contains(out, "noqueue") {
				t.Errorf("the pod's end has %s", out)
			}
			want := bandwidth.Limits{
				Ingress: bandwidth.Limit{Rate: 10_000_000, Burst: math.MaxUint32},
				Egress:  bandwidth.Limit{Rate: 20_000_000, Burst: math.MaxUint32},
			}
			if d := cmp.Diff(want, n.record("a").Bandwidth); d != "" {
				t.Errorf("record (-want +got):\n%s", d)
			}
			n.must(call{verb: "CHECK", id: "a", netns: pod, conf: withPrevResult(t, conf, r)})
			command(t, pod, "ping", "-c", "1", "-W", "2", "169.254.1.1")
			n.must(call{verb: "DEL", id: "a", netns: pod, conf: n.conf()})
			n.wantNothingLeft()
		})
	}
}

func TestNoLimitLeavesTrafficControlAlone(t *testing.T) {
	n := newNode(t)
	for i, runtime := range []map[string]any{limits(), limits("ingressRate", 0, "egressBurst", 0), {}} {
		id := string(rune('a' + i))
		n.add(call{id: id, netns: newNetns(t), conf: n.conf("runtimeConfig", runtime)})
		if out := command(t, n.netns, "tc", "qdisc", "show", "dev", endpoint.HostLink(id, "eth0")); !strings.Contains(out, "noqueue") {
			t.Errorf("%v: %s", runtime, out)
		}
		if b, err := os.ReadFile(filepath.Join(n.state.Endpoints(), id+"-eth0.json")); err != nil || strings.Contains(string(b), "bandwidth") {
			t.Errorf("%v: record %s, %v", runtime, b, err)
		}
	}
	if found := strings.Join(kernelTraces(t, n.netns), " "); strings.Contains(found, kernel.ShaperPrefix) {
		t.Errorf("there is an ifb device: %s", found)
	}
}

func TestEachDirectionIsLimitedByItself(t *testing.T) {
	for name, tt := range map[string]struct {
		runtime map[string]any
		ifb     bool
	}{
		"ingress": {limits("ingressRate", 8_000_000, "ingressBurst", 800_000), false},
		"egress":  {limits("egressRate", 8_000_000, "egressBurst", 800_000), true},
	} {
		n, pod := newNode(t), newNetns(t)
		conf := n.conf("runtimeConfig", tt.runtime)
		r := n.add(call{id: "a", netns: pod, conf: conf})
		link := endpoint.HostLink("a", "eth0")
		if has := strings.Contains(strings.Join(kernelTraces(t, n.netns), " "), kernel.ShaperLink(link)); has != tt.ifb {
			t.Errorf("%s: ifb device: %t", name, has)
		}
		if has := strings.Contains(command(t, n.netns, "tc", "qdisc", "show", "dev", link), "tbf"); has == tt.ifb {
			t.Errorf("%s: token bucket on the host end: %t", name, has)
		}
		n.must(call{verb: "CHECK", id: "a", netns: pod, conf: withPrevResult(t, conf, r)})
		n.must(call{verb: "DEL", id: "a", conf: conf})
		n.wantNothingLeft()
	}
}

func TestBadLimitsNameKeyAndValue(t *testing.T) {
	n := newNode(t)
	for _, tt := range []struct {
		runtime map[string]any
		words   []string
	}{
		{limits("ingressRate", 1000), []string{"runtimeConfig.bandwidth.ingressBurst", "0", "rate without a burst"}},
		{limits("egressBurst", 1000), []string{"runtimeConfig.bandwidth.egressRate", "0", "burst without a rate"}},
		{limits("egressRate", 1000, "egressBurst", uint64(math.MaxUint32)*8), []string{"egressBurst", "34359738360", "34359738359"}},
		{limits("egressRate", uint64(2e15), "egressBurst", 1), []string{"egressRate", "2000000000000000"}},
		{limits("ingressRate", -5, "ingressBurst", 1), []string{"ingressRate", "-5"}},
		{limits("ingressRate", json.Number("18446744073709551616"), "ingressBurst", 1), []string{"ingressRate", "18446744073709551616"}},
		{limits("ingressRate", 1.5, "ingressBurst", 1), []string{"ingressRate", "1.5"}},
		{limits("ingressRate", "10M", "ingressBurst", 1), []string{"ingressRate", "10M"}},
		{limits("ingressRate", []int{1}, "ingressBurst", 1), []string{"ingressRate", "[1]"}},
	} {
		c := call{verb: "ADD", id: "a", netns: newNetns(t), conf: n.conf("runtimeConfig", tt.runtime)}
		n.wantError(c, types.ErrInvalidNetworkConfig, tt.words...)
		c.verb = "DEL"
		n.must(c)
	}
	n.wantNothingLeft()
}

func TestDelWithoutARecordFindsTheLimit(t *testing.T) {
	n := newNode(t)
	n.add(call{id: "a", netns: newNetns(t), conf: n.conf("runtimeConfig", bothWays())})
	if err := os.Remove(filepath.Join(n.state.Endpoints(), "a-eth0.json")); err != nil {
		t.Fatal(err)
	}
	n.must(call{verb: "DEL", id: "a", conf: n.conf()})
	n.wantNothingLeft()
}

func TestDelFinishesWhenTheLinkIsGoneAndTheLimitIsNot(t *testing.T) {
	n, pod := newNode(t), newNetns(t)
	n.add(call{id: "a", netns: pod, conf: n.conf("runtimeConfig", bothWays())})
	n.add(call{id: "a", netns: pod, ifName: "eth1", conf: n.conf("runtimeConfig", bothWays())})
	ip(t, pod, "link", "del", "eth0")
	n.must(call{verb: "DEL", id: "a", conf: n.conf()})
	other := kernel.ShaperLink(endpoint.HostLink("a", "eth1"))
	if !strings.Contains(strings.Join(n.traces(), " "), other) {
		t.Errorf("the other attachment has lost %s", other)
	}
	n.must(call{verb: "GC", conf: n.conf("cni.dev/valid-attachments", []any{})})
	n.wantNothingLeft()
}

func TestCheckNamesTheLimitThatIsGone(t *testing.T) {
	link := endpoint.HostLink("a", "eth0")
	ifb := kernel.ShaperLink(link)
	for damage, words := range map[string][]string{
		"tc qdisc del dev " + link + " root":   {"to the pod", link, "token bucket"},
		"tc qdisc del dev " + link + " clsact": {"from the pod", ifb, "redirection"},
		"ip link del " + ifb:                   {"from the pod", ifb, "token bucket"},
		"tc qdisc del dev " + ifb + " root":    {"from the pod", ifb},
		"tc qdisc change dev " + ifb + " root handle 114: tbf rate 1gbit burst 1m limit 1m": {"from the pod", "1000000000 bit/s", "20000000"},
	} {
		n, pod := newNode(t), newNetns(t)
		conf := n.conf("runtimeConfig", bothWays())
		r := n.add(call{id: "a", netns: pod, conf: conf})
		command(t, n.netns, "sh", "-c", damage)
		n.wantError(call{verb: "CHECK", id: "a", netns: pod, conf: withPrevResult(t, conf, r)}, codeDiffers, words...)
	}
}

func TestLimitTakesThePlaceOfAnythingOfItsName(t *testing.T) {
	n := newNode(t)
	ip(t, n.netns, "link", "add", kernel.ShaperLink(endpoint.HostLink("a", "eth0")), "type", "bridge")
	n.add(call{id: "a", netns: newNetns(t), conf: n.conf("runtimeConfig", bothWays())})
	n.must(call{verb: "DEL", id: "a", conf: n.conf()})
	n.wantNothingLeft()
}
