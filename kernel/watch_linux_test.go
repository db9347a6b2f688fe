package kernel

import (
	"context"
	"fmt"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// settle takes reports until none has come for a while.
func settle(reports <-chan Report) {
	for {
		select {
		case <-reports:
		case <-time.After(200 * time.Millisecond):
			return
		}
	}
}

func TestWatchReportsWhatConcernsRopeway(t *testing.T) {
	s := newSpace(t)
	desired := sampleState()
	desired.Table = sampleTables()["vxlan dual stack"]
	s.reach(desired)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	reports, err := s.kernel.Watch(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		change string
		want   Report
	}{
		{"ip route del 10.244.2.0/24", Changed},
		{"ip -6 route del fd00:2::/64", Changed},
		{"ip neighbour del 10.244.2.1 dev ropeway-vxlan", Changed},
		{"bridge fdb del 02:00:00:00:00:02 dev ropeway-vxlan dst 192.0.2.2", Changed},
		{"ip address del 10.244.1.1/32 dev ropeway-vxlan", Changed},
		{"ip address add 192.0.2.77/24 dev eth0", Changed},
		{"ip link set ropeway-vxlan down", Changed},
		{"ip link add " + PodLinkPrefix + "1 type veth peer name other1", Changed},
		{"ip neighbour add 10.1.1.1 lladdr 02:ff:00:00:00:00 dev " + PodLinkPrefix + "1 nud permanent", PodsChanged},
		{"for l in other1 " + PodLinkPrefix + "1; do ip link set $l addrgenmode none; ip link set $l up; done", Changed},
		{"ip address add 169.254.1.1/32 scope host dev " + PodLinkPrefix + "1", PodsChanged},
		{"sysctl -qw net/ipv4/conf/" + PodLinkPrefix + "1/rp_filter=1", PodsChanged},
		{fmt.Sprintf("ip route add 10.244.1.77/32 dev %s1 proto %d", PodLinkPrefix, RouteProtocol), PodsChanged},
		{"ip route del 10.244.1.77/32", PodsChanged},
		{"ip link set " + PodLinkPrefix + "1 alias text", PodsChanged},
		{"ip link del " + PodLinkPrefix + "1", Changed},
		{"sysctl -qw net/ipv4/ip_forward=0", Changed},
		{"nft add element inet ropeway pods4 { 10.244.77.0/24 }", Changed},
		{"nft flush ruleset", Changed},
		{"ip neighbour add 192.0.2.9 lladdr 02:ff:00:00:00:00 dev eth0", nothing},
		{"ip route add 10.50.0.0/16 via 192.0.2.9", nothing},
		{"nft add table inet other; nft delete table inet other", nothing},
	} {
		settle(reports)
		s.sh(tt.change)
		if got := greatest(reports, tt.want); got != tt.want {
			t.Errorf("report %d, want %d: %s", got, tt.want, tt.change)
		}
	}
}

// greatest is the greatest report that comes: it waits for the one that is wanted,
// and then until none has come for a while.
func greatest(reports <-chan Report, want Report) Report {
	most, wait := nothing, 20*time.Second
	for {
		if most >= want {
			wait = time.Second / 2
		}
		select {
		case r := <-reports:
			most = max(most, r)
		case <-time.After(wait):
			return most
		}
	}
}

func TestWatchEndsWithItsContextAndLeavesNothing(t *testing.T) {
	s := newSpace(t)
	before := goleak.IgnoreCurrent()
	ctx, cancel := context.WithCancel(t.Context())
	var all []<-chan Report
	for range 3 {
		reports, err := s.kernel.Watch(ctx)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, reports)
	}
	cancel()
	deadline := time.After(10 * time.Second)
	for _, reports := range all {
		for open := true; open; {
			select {
			case _, open = <-reports:
			case <-deadline:
				t.Fatal("a channel is still open")
			}
		}
	}
	goleak.VerifyNone(t, before)
}

func TestReportsOfAFloodAreCoalesced(t *testing.T) {
	s := newSpace(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	reports, err := s.kernel.Watch(ctx)
	if err != nil {
		t.Fatal(err)
	}
	s.reach(manyPeers(2000))
	if n := len(reports); n > 1 {
		t.Errorf("%d reports wait", n)
	}
	settle(reports)
	s.sh("ip route del 10.244.2.0/24")
	select {
	case <-reports:
	case <-time.After(5 * time.Second):
		t.Error("deaf after the flood")
	}
}
