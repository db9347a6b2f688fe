package main

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"github.com/containernetworking/cni/pkg/types"
	"github.com/google/go-cmp/cmp"

	"github.com/ropeway-net/ropeway/endpoint"
	"github.com/ropeway-net/ropeway/ipam"
	"github.com/ropeway-net/ropeway/statedir"
)

func TestPodsOfOneNodeReachEachOtherWithoutADaemon(t *testing.T) {
	n := newNode(t)
	pods := []string{newNetns(t), newNetns(t)}
	for i, pod := range pods {
		n.add(call{id: fmt.Sprint("pod", i), netns: pod, conf: n.conf()})
	}
	for _, target := range []string{"10.99.0.3", "fd99::3"} {
		out := command(t, pods[0], "ping", "-c", "1", "-W", "2", target)
		if !strings.Contains(out, " 0% packet loss") {
			t.Error(out)
		}
	}
	for i := range pods {
		n.must(call{verb: "DEL", id: fmt.Sprint("pod", i), conf: n.conf()})
	}
	n.wantNothingLeft()
}

func TestResultHasWhatTheSpecificationAsksFor(t *testing.T) {
	dns := map[string]any{"nameservers": []string{"10.0.0.10"}, "search": []string{"svc.local"}}
	routed := map[string]any{"type": "ropeway-ipam", "routes": []map[string]string{{"dst": "10.0.0.0/8"}, {"dst": "0.0.0.0/0"}}}
	for _, tt := range []struct{ version, want string }{
		{"1.1.0", `{"cniVersion":"1.1.0","dns":{"nameservers":["10.0.0.10"],"search":["svc.local"]},` +
			`"interfaces":[{"mac":"02:72:6f:70:77:79","mtu":1400,"name":"rwpca978112ca1b"},{"mac":"02:00:5e:10:00:01","mtu":1400,"name":"eth0","sandbox":"NETNS"}],` +
			`"ips":[{"address":"10.99.0.2/32","gateway":"169.254.1.1","interface":1},{"address":"fd99::2/128","gateway":"fe80::1","interface":1}],` +
			`"routes":[{"dst":"0.0.0.0/0","gw":"169.254.1.1"},{"dst":"::/0","gw":"fe80::1"},{"dst":"10.0.0.0/8","gw":"169.254.1.1"}]}`},
		{"0.3.1", `{"cniVersion":"0.3.1","dns":{"nameservers":["10.0.0.10"],"search":["svc.local"]},` +
			`"interfaces":[{"mac":"02:72:6f:70:77:79","name":"rwpca978112ca1b"},{"mac":"02:00:5e:10:00:01","name":"eth0","sandbox":"NETNS"}],` +
			`"ips":[{"address":"10.99.0.2/32","gateway":"169.254.1.1","interface":1,"version":"4"},{"address":"fd99::2/128","gateway":"fe80::1","interface":1,"version":"6"}],` +
			`"routes":[{"dst":"0.0.0.0/0","gw":"169.254.1.1"},{"dst":"::/0","gw":"fe80::1"},{"dst":"10.0.0.0/8","gw":"169.254.1.1"}]}`},
	} {
		t.Run(tt.version, func(t *testing.T) {
			n, pod := newNode(t), newNetns(t)
			routed["dataDir"] = n.networks
			out, e := n.run(call{verb: "ADD", id: "a", netns: pod, args: "MAC=02:00:5e:10:00:01",
				conf: n.conf("cniVersion", tt.version, "mtu", 1400, "dns", dns, "ipam", routed)})
			if e != nil {
				t.Fatal(e)
			}
			want := strings.ReplaceAll(strings.ReplaceAll(tt.want, "NETNS", pod), "rwpca978112ca1b", endpoint.HostLink("a", "eth0"))
			if diff := cmp.Diff(want, canonical(t, out)); diff != "" {
				t.Errorf("result (-want +got):\n%s", diff)
			}
		})
	}
}

func canonical(t *testing.T, b []byte) string {
	t.Helper()
	var v any
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatal(err)
	}
	out, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func TestAttachedPodHoldsWhatWasDesigned(t *testing.T) {
	n, pod := newNode(t), newNetns(t)
	n.add(call{id: "a", netns: pod, conf: n.conf("mtu", 1400),
		args: "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web;K8S_POD_UID=1-2"})
	link := endpoint.HostLink("a", "eth0")
	mac := n.record("a").MAC.String()
	for _, want := range []struct {
		netns string
		args  []string
		has   string
	}{
		{pod, []string{"link", "show", "eth0"}, "link/ether " + mac},
		{pod, []string{"link", "show", "eth0"}, "mtu 1400"},
		{pod, []string{"link", "show", "lo"}, "LOOPBACK,UP"},
		{pod, []string{"-6", "address", "show", "dev", "eth0"}, "fd99::2/128 scope global nodad"},
		{pod, []string{"route"}, "default via 169.254.1.1 dev eth0"},
		{pod, []string{"-6", "route"}, "default via fe80::1 dev eth0"},
		{pod, []string{"neigh"}, "169.254.1.1 dev eth0 lladdr 02:72:6f:70:77:79 PERMANENT"},
		{pod, []string{"neigh"}, "fe80::1 dev eth0 lladdr 02:72:6f:70:77:79 PERMANENT"},
		{n.netns, []string{"-d", "link", "show", link}, "addrgenmode none"},
		{n.netns, []string{"link", "show", link}, "mtu 1400"},
		{n.netns, []string{"address", "show", "dev", link}, "inet 169.254.1.1/32 scope host"},
		{n.netns, []string{"address", "show", "dev", link}, "inet6 fe80::1/64 scope link nodad"},
		{n.netns, []string{"route"}, "10.99.0.2 dev " + link + " proto 114 scope link"},
		{n.netns, []string{"-6", "route"}, "fd99::2 dev " + link + " proto 114"},
		{n.netns, []string{"neigh"}, "10.99.0.2 dev " + link + " lladdr " + mac + " PERMANENT"},
		{n.netns, []string{"neigh"}, "fd99::2 dev " + link + " lladdr " + mac + " PERMANENT"},
	} {
		if out := ip(t, want.netns, want.args...); !strings.Contains(out, want.has) {
			t.Errorf("ip %s does not show %q:\n%s", strings.Join(want.args, " "), want.has, out)
		}
	}
	for key, want := range map[string]string{
		"ipv4/conf/" + link + "/rp_filter":      "1",
		"ipv4/conf/" + link + "/send_redirects": "0",
		"ipv4/conf/" + link + "/forwarding":     "1",
		"ipv6/conf/" + link + "/forwarding":     "1",
		"ipv6/conf/" + link + "/accept_ra":      "0",
	} {
		if got := strings.TrimSpace(command(t, n.netns, "cat", "/proc/sys/net/"+key)); got != want {
			t.Errorf("%s is %s, want %s", key, got, want)
		}
	}
	if diff := cmp.Diff(endpoint.Pod{Namespace: "default", Name: "web", UID: "1-2"}, n.record("a").Pod); diff != "" {
		t.Errorf("pod of the record (-want +got):\n%s", diff)
	}
}

func TestPodGetsTheMACThatWasAskedFor(t *testing.T) {
	const want = "02:00:5e:10:00:01"
	for name, tt := range map[string]struct {
		pairs []any
		args  string
	}{
		"capability":          {pairs: []any{"runtimeConfig", map[string]any{"mac": want}}},
		"capability, capital": {pairs: []any{"runtimeConfig", map[string]any{"Mac": want}}, args: "MAC=02:00:00:00:00:09"},
		"args":                {pairs: []any{"args", map[string]any{"cni": map[string]any{"mac": want}}}, args: "MAC=02:00:00:00:00:09"},
		"CNI_ARGS":            {args: "IgnoreUnknown=1;MAC=" + want},
	} {
		t.Run(name, func(t *testing.T) {
			n, pod := newNode(t), newNetns(t)
			r := n.add(call{id: "a", netns: pod, args: tt.args, conf: n.conf(tt.pairs...)})
			if r.Interfaces[1].Mac != want || !strings.Contains(ip(t, pod, "link", "show", "eth0"), want) {
				t.Errorf("MAC is %s, want %s", r.Interfaces[1].Mac, want)
			}
		})
	}
}

func TestSmallMTUIsRefusedWithIPv6AndFineWithout(t *testing.T) {
	n, pod := newNode(t), newNetns(t)
	n.wantError(call{verb: "ADD", id: "a", netns: pod, conf: n.conf("mtu", 1279)},
		types.ErrInvalidNetworkConfig, "mtu 1279", "1280", "fd99::2")
	n.wantNothingLeft()
	n.add(call{id: "a", netns: pod, conf: n.conf("mtu", 1000, "podCIDRs", []string{"10.99.0.0/24"})})
	n.add(call{id: "b", netns: newNetns(t), conf: n.conf("mtu", 1000, "podCIDRs", []string{"10.99.0.0/24"})})
	command(t, pod, "ping", "-c", "1", "-W", "2", "10.99.0.4")
}

func TestSingleFamilyPodsReachEachOther(t *testing.T) {
	for cidr, target := range map[string]string{"10.99.0.0/24": "10.99.0.3", "fd99::/64": "fd99::3"} {
		t.Run(cidr, func(t *testing.T) {
			n, pod := newNode(t), newNetns(t)
			c := n.conf("podCIDRs", []string{cidr})
			n.add(call{id: "a", netns: pod, conf: c})
			r := n.add(call{id: "b", netns: newNetns(t), conf: c})
			if len(r.IPs) != 1 || len(r.Routes) != 1 {
				t.Errorf("result has %d addresses and %d routes, want one of each", len(r.IPs), len(r.Routes))
			}
			command(t, pod, "ping", "-c", "1", "-W", "2", target)
		})
	}
}

func TestIPv6IsSwitchedOnInAPodWhereItIsOffByDefault(t *testing.T) {
	n, pod := newNode(t), newNetns(t)
	command(t, pod, "sh", "-c", "echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6; echo 1 >/proc/sys/net/ipv6/conf/default/disable_ipv6")
	n.add(call{id: "a", netns: pod, conf: n.conf()})
	n.add(call{id: "b", netns: newNetns(t), conf: n.conf()})
	command(t, pod, "ping", "-c", "1", "-W", "2", "fd99::3")
}

func TestIPv6OffOnTheNodeIsSaid(t *testing.T) {
	n, pod := newNode(t), newNetns(t)
	command(t, n.netns, "sh", "-c", "echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6; echo 1 >/proc/sys/net/ipv6/conf/default/disable_ipv6")
	n.wantError(call{verb: "ADD", id: "a", netns: pod, conf: n.conf()}, codeKernel, "IPv6 is switched off on the node", "disable_ipv6=0")
	n.wantNothingLeft()
	n.add(call{id: "a", netns: pod, conf: n.conf("podCIDRs", []string{"10.99.0.0/24"})})
}

func TestNodeFactsComeFromTheDaemon(t *testing.T) {
	n, pod := newNode(t), newNetns(t)
	conf := n.conf("podCIDRs", nil)
	n.wantError(call{verb: "ADD", id: "a", netns: pod, conf: conf}, types.ErrTryAgainLater, n.state.NodeFile(), "ropewayd")

	bootID, err := statedir.BootID()
	if err != nil {
		t.Fatal(err)
	}
	node := statedir.Node{
		BootID: "earlier", Name: "n1", Mode: "vxlan", MTU: 1450,
		PodCIDRs: []netip.Prefix{netip.MustParsePrefix("10.98.1.0/24"), netip.MustParsePrefix("fd98:1::/64")},
		Sources:  []netip.Addr{netip.MustParseAddr("10.98.1.1"), netip.MustParseAddr("fd98:1::1")},
	}
	if err := n.state.WriteNode(node); err != nil {
		t.Fatal(err)
	}
	n.wantError(call{verb: "ADD", id: "a", netns: pod, conf: conf}, types.ErrTryAgainLater, "earlier boot", "ropewayd")
	n.wantNothingLeft()

	node.BootID = bootID
	if err := n.state.WriteNode(node); err != nil {
		t.Fatal(err)
	}
	ip(t, n.netns, "address", "add", "10.98.1.1/32", "dev", "lo")
	r := n.add(call{id: "a", netns: pod, conf: conf})
	if got := r.IPs[0].Address.String() + " " + r.IPs[1].Address.String(); got != "10.98.1.2/32 fd98:1::2/128" || r.Interfaces[1].Mtu != 1450 {
		t.Errorf("addresses %s with MTU %d, want those of node.json", got, r.Interfaces[1].Mtu)
	}
	if out := ip(t, n.netns, "route"); !strings.Contains(out, "scope link src 10.98.1.1") {
		t.Errorf("host route has no source:\n%s", out)
	}
	if out := ip(t, n.netns, "-6", "route"); strings.Contains(out, "src fd98:1::1") || !strings.Contains(out, "fd98:1::2 dev rwp") {
		t.Errorf("route with a source that is not on the node:\n%s", out)
	}
	if got := strings.TrimSpace(command(t, n.netns, "cat", "/proc/sys/net/ipv6/conf/all/forwarding")); got != "0" {
		t.Error("the plugin switched on the node's forwarding, which is the daemon's to do")
	}
}

func TestFullPoolIsSaidAndDelMakesRoom(t *testing.T) {
	n, pod := newNode(t), newNetns(t)
	conf := n.conf("podCIDRs", []string{"10.99.0.0/30"}) // one address beside the gateway
	n.add(call{id: "a", netns: newNetns(t), conf: conf})
	n.wantError(call{verb: "ADD", id: "b", netns: pod, conf: conf}, ipam.CodeFull, "10.99.0.0/30 is full")
	n.must(call{verb: "DEL", id: "a", conf: conf})
	n.wantNothingLeft()
	n.add(call{id: "b", netns: pod, conf: conf})
}

func TestSecondInterfaceOfAPodLeavesTheFirstPreferred(t *testing.T) {
	n, pod := newNode(t), newNetns(t)
	n.add(call{id: "a", netns: pod, conf: n.conf()})
	n.add(call{id: "a", netns: pod, ifName: "eth1", conf: n.conf()})
	if out := ip(t, pod, "route", "get", "10.99.0.77"); !strings.Contains(out, "dev eth0") {
		t.Errorf("traffic leaves through %s", out)
	}
	n.must(call{verb: "DEL", id: "a", ifName: "eth1", conf: n.conf()})
	n.must(call{verb: "DEL", id: "a", conf: n.conf()})
	n.wantNothingLeft()
}

func TestParallelAttachmentsAllSucceed(t *testing.T) {
	const pods, atOnce = 30, 10
	n := newNode(t)
	netns := make([]string, pods)
	for i := range netns {
		netns[i] = newNetns(t)
	}
	each := func(verb string) {
		var wg sync.WaitGroup
		slots := make(chan struct{}, atOnce)
		for i := range pods {
			wg.Add(1)
			slots <- struct{}{}
			go func() {
				defer func() { <-slots; wg.Done() }()
				if _, e := n.run(call{verb: verb, id: fmt.Sprint("pod", i), netns: netns[i], conf: n.conf()}); e != nil {
					t.Errorf("%s of pod %d: %v", verb, i, e)
				}
			}()
		}
		wg.Wait()
	}
	each("ADD")
	records, err := endpoint.Store{Dir: n.state.Endpoints()}.List()
	if err != nil || len(records) != pods {
		t.Fatalf("%d records, error %v", len(records), err)
	}
	given := map[netip.Addr]string{}
	for _, r := range records {
		for _, a := range r.Addresses {
			if other, taken := given[a]; taken {
				t.Errorf("%s was given to %s and %s", a, other, r.ContainerID)
			}
			given[a] = r.ContainerID
		}
	}
	each("DEL")
	n.wantNothingLeft()
}
