package kernel

import (
	"context"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// settle takes reports until none has come for a while.
func settle(reports <-chan struct{}) {
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
		change  string
		concern bool
	}{
		{"ip route del 10.244.2.0/24", true},
		{"ip -6 route del fd00:2::/64", true},
		{"ip neighbour del 10.244.2.1 dev ropeway-vxlan", true},
		{"bridge fdb del 02:00:00:00:00:02 dev ropeway-vxlan dst 192.0.2.2", true},
		{"ip address del 10.244.1.1/32 dev ropeway-vxlan", true},
		{"ip address add 192.0.2.77/24 dev eth0", true},
		{"ip link set ropeway-vxlan down", true},
		{"ip link add " + PodLinkPrefix + "1 type veth peer name other1", true},
		{"ip neighbour add 10.1.1.1 lladdr 02:ff:00:00:00:00 dev " + PodLinkPrefix + "1 nud permanent", true},
		{"sysctl -qw net/ipv4/ip_forward=0", true},
		{"nft add element inet ropeway pods4 { 10.244.77.0/24 }", true},
		{"nft flush ruleset", true},
		{"ip neighbour add 192.0.2.9 lladdr 02:ff:00:00:00:00 dev eth0", false},
		{"ip route add 10.50.0.0/16 via 192.0.2.9", false},
		{"nft add table inet other; nft delete table inet other", false},
	} {
		settle(reports)
		s.sh(tt.change)
		select {
		case <-reports:
			if !tt.concern {
				t.Errorf("reported: %s", tt.change)
			}
		case <-time.After(time.Second):
			if tt.concern {
				t.Errorf("not reported: %s", tt.change)
			}
		}
	}
}

func TestWatchEndsWithItsContextAndLeavesNothing(t *testing.T) {
	s := newSpace(t)
	before := goleak.IgnoreCurrent()
	ctx, cancel := context.WithCancel(t.Context())
	var all []<-chan struct{}
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
