package main

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"

	"github.com/containernetworking/cni/pkg/types"
	"github.com/google/go-cmp/cmp"

	"github.com/ropeway-net/ropeway/endpoint"
)

func TestHostPortLeadsToThePod(t *testing.T) {
	n, web, client := newNode(t).withAddresses(), newNetns(t), newNetns(t)
	n.add(call{id: "web", netns: web, conf: n.conf("runtimeConfig", ports(t, "8080:80/tcp", "8080:80/udp", "192.0.2.1 9090:80/tcp", "127.0.0.1 7070:80/tcp"))})
	n.add(call{id: "client", netns: client, conf: n.conf()})
	answer(t, web, "web")
	for _, tt := range []struct {
		from, network, to string
		want              string
	}{
		{n.netns, "tcp", "192.0.2.1:8080", "web"},
		{n.netns, "udp", "192.0.2.1:8080", "web"},
		{n.netns, "tcp", "[fd01::1]:8080", "web"},
		{n.netns, "udp", "[fd01::1]:8080", "web"},
		{n.netns, "tcp", "127.0.0.1:8080", "web"},
		{n.netns, "udp", "127.0.0.1:8080", "web"},
		{n.netns, "udp", "127.9.9.9:8080", "web"},
		{n.netns, "tcp", "[::1]:8080", "refused"}, // and not lost
		{client, "tcp", "192.0.2.1:8080", "web"},
		{client, "udp", "192.0.2.1:8080", "web"},
		{client, "tcp", "[fd01::1]:8080", "web"},
		{client, "udp", "[fd01::1]:8080", "web"},
		{web, "tcp", "192.0.2.1:8080", "web"}, // hairpin
		{web, "udp", "192.0.2.1:8080", "web"},
		{web, "tcp", "[fd01::1]:8080", "web"},
		{web, "udp", "[fd01::1]:8080", "web"},
		{client, "tcp", "192.0.2.1:9090", "web"},
		{client, "tcp", "192.0.2.9:9090", "refused"},
		{client, "tcp", "[fd01::1]:9090", "refused"},
		{n.netns, "tcp", "127.0.0.1:9090", "refused"},
		{n.netns, "tcp", "127.0.0.1:7070", "web"},
		{client, "tcp", "192.0.2.1:7070", "refused"},
		{client, "tcp", "10.99.0.2:8080", "refused"}, // the pod's own address is none of the node's
		{client, "tcp", "10.99.0.2:80", "web"},
	} {
		if got := ask(t, tt.from, tt.network, tt.to); !strings.Contains(got, tt.want) {
			t.Errorf("%s %s from %s: %q, want %q", tt.network, tt.to, tt.from, got, tt.want)
		}
	}
	n.must(call{verb: "DEL", id: "web", conf: n.conf()})
	if got := ask(t, n.netns, "tcp", "192.0.2.1:8080"); !strings.Contains(got, "refused") {
		t.Errorf("after DEL: %q", got)
	}
	n.must(call{verb: "DEL", id: "client", conf: n.conf()})
	n.wantNoPorts()
}

func TestNoPortsNoTable(t *testing.T) {
	n := newNode(t)
	n.add(call{id: "a", netns: newNetns(t), conf: n.conf("runtimeConfig", ports(t, "0:80/tcp"))})
	n.must(call{verb: "DEL", id: "a", conf: n.conf()})
	if tables := command(t, n.netns, "nft", "list", "tables"); strings.TrimSpace(tables) != "" {
		t.Errorf("there is %s", tables)
	}
}

func TestPodsCannotReachTheNodesLoopback(t *testing.T) {
	n, pod := newNode(t).withAddresses(), newNetns(t)
	n.add(call{id: "a", netns: pod, conf: n.conf("runtimeConfig", ports(t, "8080:80/tcp"))})
	in(t, n.netns, func() {
		private, err := net.Listen("tcp", "127.0.0.1:6443")
		if err != nil {
			t.Error(err)
			return
		}
		t.Cleanup(func() { _ = private.Close() })
	})
	// The pod does all it can to send there.
	command(t, pod, "sysctl", "-qw", "net.ipv4.conf.all.route_localnet=1")
	ip(t, pod, "address", "delete", "127.0.0.1/8", "dev", "lo")
	ip(t, pod, "route", "add", "127.0.0.0/8", "via", "169.254.1.1", "dev", "eth0", "onlink")
	if got := ask(t, pod, "tcp", "127.0.0.1:6443"); !strings.Contains(got, "timeout") {
		t.Errorf("the pod got %q", got)
	}
	if drops := command(t, n.netns, "nft", "list", "chain", "inet", "ropeway", "prerouting-loopback"); strings.Contains(drops, "packets 0 ") {
		t.Error("no packet arrived that could be dropped: the test proves nothing")
	}
}

func TestSiblingKeepsItsPorts(t *testing.T) {
	n, pod := newNode(t).withAddresses(), newNetns(t)
	one, two := ports(t, "8080:80/tcp", "53:80/udp"), ports(t, "8081:80/tcp", "54:80/udp")
	n.add(call{id: "a", netns: pod, conf: n.conf("runtimeConfig", one)})
	first := n.elements()
	n.add(call{id: "a", netns: pod, ifName: "eth1", conf: n.conf("runtimeConfig", two)})
	n.must(call{verb: "DEL", id: "a", ifName: "eth1", conf: n.conf("runtimeConfig", one)}) // what DEL says does not count
	if d := cmp.Diff(first, n.elements()); d != "" {
		t.Errorf("elements (-want +got):\n%s", d)
	}
	n.must(call{verb: "DEL", id: "a", conf: n.conf()})
	n.wantNoPorts()
}

func TestTakenHostPortIsRefused(t *testing.T) {
	n := newNode(t).withAddresses()
	n.add(call{id: "a", netns: newNetns(t), args: "K8S_POD_NAMESPACE=default;K8S_POD_NAME=web", conf: n.conf("runtimeConfig", ports(t, "8080:80/tcp", "192.0.2.1 53:53/udp"))})
	before := n.elements()
	for text, refused := range map[string]bool{
		"8080:80/tcp": true, "0.0.0.0 8080:81/tcp": true, "192.0.2.9 8080:80/tcp": true, ":: 8080:80/tcp": true,
		"53:53/udp": true, "192.0.2.1 53:54/udp": true,
		"8080:80/udp": false, "192.0.2.9 53:53/udp": false, "fd01::1 53:53/udp": false, "8081:80/tcp": false,
	} {
		c := call{verb: "ADD", id: "b", netns: newNetns(t), conf: n.conf("runtimeConfig", ports(t, text))}
		if refused {
			n.wantError(c, types.ErrTryAgainLater, "host port", "pod default/web", "container a (eth0)")
		} else {
			n.must(c)
		}
		n.must(call{verb: "DEL", id: "b", conf: n.conf()})
		if d := cmp.Diff(before, n.elements()); d != "" {
			t.Errorf("%s: elements (-want +got):\n%s", text, d)
		}
	}
}

func TestTwoAtOnceGetAPortOnce(t *testing.T) {
	n := newNode(t)
	const pods = 4
	results := make(chan *types.Error, pods)
	for i := range pods {
		c := call{verb: "ADD", id: fmt.Sprint("p", i), netns: newNetns(t), conf: n.conf("runtimeConfig", ports(t, "8080:80/tcp"))}
		go func() {
			_, e := n.run(c)
			results <- e
		}()
	}
	won := 0
	for range pods {
		switch e := <-results; {
		case e == nil:
			won++
		case e.Code != types.ErrTryAgainLater:
			t.Errorf("code %d: %s", e.Code, e.Msg)
		}
	}
	if won != 1 {
		t.Errorf("%d pods got the port", won)
	}
	if e := n.elements(); len(e) != 4 { // a port and a hairpin in each family
		t.Errorf("elements %q", e)
	}
}

func TestPortOfALostRecordIsTakenOver(t *testing.T) {
	n, pod := newNode(t).withAddresses(), newNetns(t)
	conf := n.conf("runtimeConfig", ports(t, "8080:80/tcp"))
	n.add(call{id: "lost", netns: newNetns(t), conf: conf})
	if err := os.RemoveAll(n.state.Endpoints()); err != nil {
		t.Fatal(err)
	}
	n.add(call{id: "b", netns: pod, conf: conf})
	answer(t, pod, "b")
	if got := ask(t, n.netns, "tcp", "192.0.2.1:8080"); got != "b" {
		t.Errorf("%q answers", got)
	}
	// DEL without a record: what is left of the pod goes by its link.
	n.must(call{verb: "DEL", id: "lost", conf: n.conf()})
	if e := n.elements(); len(e) != 4 {
		t.Errorf("elements %q", e)
	}
	n.must(call{verb: "DEL", id: "b", conf: n.conf()})
	n.wantNoPorts()
}

func TestDelWithoutARecordClosesThePorts(t *testing.T) {
	n := newNode(t)
	n.add(call{id: "a", netns: newNetns(t), conf: n.conf("runtimeConfig", ports(t, "8080:80/tcp", "53:53/udp"))})
	if err := os.RemoveAll(n.state.Endpoints()); err != nil {
		t.Fatal(err)
	}
	n.must(call{verb: "DEL", id: "a", conf: n.conf()})
	n.wantNoPorts()
	n.wantNothingLeft()
}

func TestRecordOfAnEarlierBootClosesNothing(t *testing.T) {
	n := newNode(t)
	conf := n.conf("runtimeConfig", ports(t, "8080:80/tcp"))
	n.add(call{id: "now", netns: newNetns(t), conf: conf})
	before := n.elements()
	stale := n.record("now") // of the same address and port
	stale.BootID, stale.ContainerID, stale.HostLink = "before", "then", endpoint.HostLink("then", "eth0")
	if err := (endpoint.Store{Dir: n.state.Endpoints()}).Write(stale); err != nil {
		t.Fatal(err)
	}
	n.must(call{verb: "DEL", id: "then", conf: n.conf()})
	if d := cmp.Diff(before, n.elements()); d != "" {
		t.Errorf("elements (-want +got):\n%s", d)
	}
}

// A DEL that was killed between giving the address back and removing the record
// is finished by another DEL, when the address may be another pod's already.
func TestDelOfAKilledDelLeavesTheAddressesNextPodAlone(t *testing.T) {
	n := newNode(t)
	n.add(call{id: "a", netns: newNetns(t), conf: n.conf("runtimeConfig", ports(t, "8080:80/tcp"))})
	rec := n.record("a")
	n.must(call{verb: "DEL", id: "a", conf: n.conf()})
	if err := (endpoint.Store{Dir: n.state.Endpoints()}).Write(rec); err != nil {
		t.Fatal(err)
	}
	conf := n.conf("runtimeConfig", map[string]any{"ips": []string{"10.99.0.2", "fd99::2"}, "portMappings": ports(t, "8081:80/tcp")["portMappings"]})
	n.add(call{id: "b", netns: newNetns(t), conf: conf})
	before := n.elements()
	if len(before) != 4 {
		t.Fatalf("elements %q", before)
	}
	n.must(call{verb: "DEL", id: "a", conf: n.conf()})
	if d := cmp.Diff(before, n.elements()); d != "" {
		t.Errorf("elements (-want +got):\n%s", d)
	}
	n.must(call{verb: "DEL", id: "b", conf: n.conf()})
	n.wantNoPorts()
	n.wantNothingLeft()
}

func TestFlushedRulesetIsMadeAgainByAddAndMindedByDel(t *testing.T) {
	n, pod := newNode(t).withAddresses(), newNetns(t)
	n.add(call{id: "a", netns: newNetns(t), conf: n.conf("runtimeConfig", ports(t, "8080:80/tcp"))})
	for i, damage := range []string{"flush ruleset", "flush chain inet ropeway output-host-ports", "delete chain inet ropeway prerouting-loopback"} {
		command(t, n.netns, "nft", damage)
		n.add(call{id: "b", netns: pod, conf: n.conf("runtimeConfig", ports(t, "8081:80/tcp"))})
		if i == 0 {
			answer(t, pod, "b")
		}
		if got := ask(t, n.netns, "tcp", "127.0.0.1:8081"); got != "b" {
			t.Errorf("%s: %q answers", damage, got)
		}
		n.must(call{verb: "DEL", id: "b", conf: n.conf()})
	}
	command(t, n.netns, "nft", "flush", "ruleset")
	n.must(call{verb: "DEL", id: "a", conf: n.conf()})
	n.wantNoPorts()
}

// The table is the daemon's as well: what else is in it stays as it is.
func TestTheRestOfTheTableIsLeftAlone(t *testing.T) {
	n := newNode(t)
	command(t, n.netns, "nft", "add table inet ropeway; add set inet ropeway pods4 { type ipv4_addr; flags interval; elements = { 10.0.0.0/8 }; }; "+
		"add chain inet ropeway forward { type filter hook forward priority 0; }; add rule inet ropeway forward ip saddr @pods4 counter accept")
	before := strings.Fields(command(t, n.netns, "nft", "list", "table", "inet", "ropeway"))
	n.add(call{id: "a", netns: newNetns(t), conf: n.conf("runtimeConfig", ports(t, "8080:80/tcp"))})
	n.must(call{verb: "DEL", id: "a", conf: n.conf()})
	after := strings.Join(strings.Fields(command(t, n.netns, "nft", "list", "table", "inet", "ropeway")), " ")
	for _, part := range []string{strings.Join(before[3:14], " "), "counter packets 0 bytes 0 accept"} {
		if !strings.Contains(after, part) {
			t.Errorf("%q is not in\n%s", part, after)
		}
	}
}

func TestCheckNamesWhatHostPortsLack(t *testing.T) {
	for name, tt := range map[string]struct {
		damage string
		words  []string
	}{
		"element":    {"nft delete element inet ropeway host-ports4 { tcp . 8080 }", []string{"host port tcp 8080 leads nowhere", "host-ports4"}},
		"other pod":  {"nft delete element inet ropeway host-ports6 { tcp . 8080 }; nft add element inet ropeway host-ports6 { tcp . 8080 : fd99::77 . 80 }", []string{"leads to [fd99::77]:80, not to"}},
		"hairpin":    {"nft flush set inet ropeway hairpin4", []string{"10.99.0.2 is not in set hairpin4"}},
		"rule":       {"nft flush chain inet ropeway prerouting-host-ports", []string{"chain prerouting-host-ports"}},
		"table":      {"nft delete table inet ropeway", []string{"no nftables table inet ropeway"}},
		"no loopack": {"sysctl -qw net.ipv4.conf." + endpoint.HostLink("a", "eth0") + ".route_localnet=0", []string{"route_localnet is 0"}},
	} {
		t.Run(name, func(t *testing.T) {
			n, pod := newNode(t), newNetns(t)
			conf := n.conf("runtimeConfig", ports(t, "8080:80/tcp"))
			r := n.add(call{id: "a", netns: pod, conf: conf})
			c := call{verb: "CHECK", id: "a", netns: pod, conf: withPrevResult(t, conf, r)}
			n.must(c)
			command(t, n.netns, "sh", "-c", strings.ReplaceAll(strings.ReplaceAll(tt.damage, "{", "'{"), "}", "}'"))
			n.wantError(c, codeDiffers, tt.words...)
		})
	}
}

func TestGCClosesThePortsOfWhatIsNotListed(t *testing.T) {
	n := newNode(t)
	n.add(call{id: "keep", netns: newNetns(t), conf: n.conf("runtimeConfig", ports(t, "8080:80/tcp"))})
	before := n.elements()
	n.add(call{id: "stale", netns: newNetns(t), conf: n.conf("runtimeConfig", ports(t, "8081:80/tcp"))})
	n.must(call{verb: "GC", conf: n.conf("cni.dev/valid-attachments", []any{attachment("keep", "eth0")})})
	if d := cmp.Diff(before, n.elements()); d != "" {
		t.Errorf("elements (-want +got):\n%s", d)
	}
}

func TestFailureAfterHostPortsClosesThem(t *testing.T) {
	n, pod := newNode(t), newNetns(t)
	for _, step := range []string{"open the host ports", "print the result"} {
		tried := false
		in(t, n.netns, func() {
			p := plugin{stdout: &bytes.Buffer{}, beforeStep: func(s string) error {
				if s == step {
					tried = true
					return fmt.Errorf("broken on purpose")
				}
				return nil
			}}
			args := attachArgs(n, pod)
			args.StdinData = []byte(n.conf("runtimeConfig", ports(t, "8080:80/tcp", "53:53/udp")))
			if err := p.add(deadline(t), args); err == nil {
				t.Errorf("ADD succeeded without %q", step)
			}
		})
		if !tried {
			t.Errorf("there was no step %q", step)
		}
		n.wantNoPorts()
		n.wantNothingLeft()
	}
}

// A client that keeps sending from one socket must reach the new pod, and none
// of the flows of others may be forgotten.
func TestUDPFlowsFollowThePort(t *testing.T) {
	n := newNode(t).withAddresses()
	var client, bystander net.Conn
	in(t, n.netns, func() {
		program, err := net.ListenPacket("udp", ":80")
		if err != nil {
			t.Error(err)
			return
		}
		t.Cleanup(func() { _ = program.Close() })
		if client, err = net.Dial("udp", "192.0.2.1:5353"); err != nil {
			t.Error(err)
			return
		}
		t.Cleanup(func() { _ = client.Close() })
		if bystander, err = net.Dial("udp", "192.0.2.1:80"); err != nil {
			t.Error(err)
			return
		}
		t.Cleanup(func() { _ = bystander.Close() })
	})
	pods := []string{newNetns(t), newNetns(t)}
	conf := n.conf("runtimeConfig", ports(t, "5353:80/udp"))
	// Tracked because a rule wants it.
	command(t, n.netns, "nft", "add table inet other; add chain inet other c { type filter hook output priority 0; }; add rule inet other c ct state new counter")
	_ = exchange(client) // tracked as a flow to the node itself
	_, _ = bystander.Write([]byte("?"))
	flows := func() string {
		return command(t, n.netns, "sh", "-c", "cat /proc/net/nf_conntrack 2>/dev/null || conntrack -L 2>/dev/null")
	}
	if f := flows(); !strings.Contains(f, "dport=5353 ") || !strings.Contains(f, "dport=80 ") {
		t.Fatalf("flows are not tracked: %s", f)
	}
	for i, pod := range pods {
		name := fmt.Sprint("pod", i)
		n.add(call{id: name, netns: pod, conf: conf})
		answer(t, pod, name)
		if got := exchange(client); got != name {
			t.Errorf("%q answers, want %s", got, name)
		}
		if i == 0 {
			_ = exchange(client)
		}
		n.must(call{verb: "DEL", id: name, conf: n.conf()})
		if f := flows(); strings.Contains(f, "dport=5353 ") {
			t.Errorf("after DEL there is still %s", f)
		}
	}
	if f := flows(); !strings.Contains(f, "dport=80 ") {
		t.Errorf("somebody else's flow was forgotten: %s", f)
	}
}

// A NodePort, an external address or a port that another program publishes is
// more specific than a host port, which is on every address (CVE-2019-9946).
func TestServicesOnTheSamePortWin(t *testing.T) {
	const rules = "add table ip kube-proxy; add chain ip kube-proxy PRE { type nat hook prerouting priority -100; }; add chain ip kube-proxy OUT { type nat hook output priority -100; }; " +
		"add rule ip kube-proxy PRE fib daddr type local tcp dport 8080 dnat to 10.99.0.3:80; add rule ip kube-proxy OUT fib daddr type local tcp dport 8080 dnat to 10.99.0.3:80"
	for _, first := range []string{"service", "host port"} {
		t.Run(first+" first", func(t *testing.T) {
			n, web, backend, client := newNode(t).withAddresses(), newNetns(t), newNetns(t), newNetns(t)
			if first == "service" {
				command(t, n.netns, "nft", rules)
			}
			n.add(call{id: "web", netns: web, conf: n.conf("runtimeConfig", ports(t, "8080:80/tcp", "8081:80/tcp"))})
			n.add(call{id: "backend", netns: backend, conf: n.conf()})
			n.add(call{id: "client", netns: client, conf: n.conf()})
			if first != "service" {
				command(t, n.netns, "nft", rules)
			}
			answer(t, web, "web")
			answer(t, backend, "backend")
			for _, from := range []string{n.netns, client} {
				if got := ask(t, from, "tcp", "192.0.2.1:8080"); got != "backend" {
					t.Errorf("%q answers for the service", got)
				}
				if got := ask(t, from, "tcp", "192.0.2.1:8081"); got != "web" {
					t.Errorf("%q answers on another port", got)
				}
			}
		})
	}
}

// What only passes through the node is nobody's host port.
func TestPacketsToOthersPassUntouched(t *testing.T) {
	n, web, client, other := newNode(t).withAddresses(), newNetns(t), newNetns(t), newNetns(t)
	n.add(call{id: "web", netns: web, conf: n.conf("runtimeConfig", ports(t, "80:80/tcp", "80:80/udp", "10.99.0.4 80:80/tcp"))})
	n.add(call{id: "client", netns: client, conf: n.conf()})
	n.add(call{id: "other", netns: other, conf: n.conf()})
	answer(t, web, "web")
	answer(t, other, "other")
	for _, from := range []string{client, n.netns} {
		for _, to := range []string{"10.99.0.4:80", "[fd99::4]:80"} {
			for _, network := range []string{"tcp", "udp"} {
				if got := ask(t, from, network, to); got != "other" {
					t.Errorf("%q answers for %s %s", got, network, to)
				}
			}
		}
	}
}
