package main

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/ropeway-net/ropeway/endpoint"
	"github.com/ropeway-net/ropeway/kernel"
)

// flowsTo counts the UDP flows to an address that the node tracks.
func (n *testNode) flowsTo(a string) int {
	n.t.Helper()
	found := 0
	in(n.t, n.netns, func() {
		_, err := kernel.ForgetUDP(context.Background(), func(f kernel.Flow) bool {
			if f.To.Addr() == netip.MustParseAddr(a) {
				found++
			}
			return false
		})
		if err != nil {
			n.t.Error(err)
		}
	})
	return found
}

// askFrom asks the UDP server of a pod from a port that stays the same.
func askFrom(t *testing.T, netns string, port int, server string) (answer string) {
	t.Helper()
	in(t, netns, func() {
		d := net.Dialer{LocalAddr: &net.UDPAddr{Port: port}, Timeout: 5 * time.Second}
		c, err := d.Dial("udp", server)
		if err != nil {
			t.Error(err)
			return
		}
		defer func() { _ = c.Close() }()
		_ = c.SetDeadline(time.Now().Add(5 * time.Second))
		b := make([]byte, 16)
		if _, err = c.Write([]byte("?")); err == nil {
			var size int
			size, err = c.Read(b)
			answer = string(b[:size])
		}
		if err != nil {
			t.Errorf("%s: %v", server, err)
		}
	})
	return answer
}

func TestAddressThatIsUsedAgainLeadsToTheNewPodAtOnce(t *testing.T) {
	n, client := newNode(t), newNetns(t)
	command(t, n.netns, "nft", "add table inet t; add chain inet t f { type filter hook forward priority 0; }; add rule inet t f ct state established accept")
	n.add(call{id: "client", netns: client, conf: n.conf()})
	addresses := []string{"10.99.0.9", "fd99::9"}
	conf := n.conf("runtimeConfig", map[string]any{"ips": addresses})
	macs := map[string]string{}
	for _, id := range []string{"one", "two", "three"} {
		pod := newNetns(t)
		for _, a := range addresses {
			if stale := n.flowsTo(a); (stale == 0) != (id == "one") {
				t.Errorf("before %s: %d flows to %s", id, stale, a)
			}
		}
		n.add(call{id: id, netns: pod, conf: conf})
		mac := n.record(id).MAC.String()
		if other, taken := macs[mac]; taken {
			t.Errorf("%s and %s have MAC address %s", id, other, mac)
		}
		macs[mac] = id
		answer(t, pod, id)
		for _, a := range addresses {
			if stale := n.flowsTo(a); stale != 0 {
				t.Errorf("%s begins with %d flows to %s that others had", id, stale, a)
			}
			if got := askFrom(t, client, 4711, net.JoinHostPort(a, "80")); got != id {
				t.Errorf("%q answers at %s, want %s", got, a, id)
			}
			neighbours := ip(t, n.netns, "neigh", "show", "to", a)
			want := fmt.Sprintf("%s dev %s lladdr %s PERMANENT", a, endpoint.HostLink(id, "eth0"), mac)
			if strings.TrimSpace(neighbours) != want {
				t.Errorf("neighbours %q, want %q", neighbours, want)
			}
		}
		if out := ip(t, client, "neigh"); strings.Contains(out, "10.99.0.9") || strings.Contains(out, "fd99::9") {
			t.Errorf("the client knows the pod as a neighbour: %s", out)
		}
		n.must(call{verb: "DEL", id: id, conf: conf})
	}
}

func TestFirstUseOfAnAddressForgetsNothing(t *testing.T) {
	n := newNode(t)
	n.add(call{id: "a", netns: newNetns(t), conf: n.conf()})
	if _, err := os.Stat(n.state.FreedFile()); err == nil {
		t.Error("ADD has noted an address")
	}
	n.must(call{verb: "DEL", id: "a", conf: n.conf()})
	f := endpoint.Freed{Path: n.state.FreedFile()}
	lately, err := f.Lately([]netip.Addr{netip.MustParseAddr("10.99.0.2"), netip.MustParseAddr("fd99::2"), netip.MustParseAddr("10.99.0.3")})
	if err != nil || len(lately) != 2 {
		t.Errorf("freed lately: %v, %v", lately, err)
	}
}
