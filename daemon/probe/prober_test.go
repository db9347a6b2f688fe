package probe

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/ropeway-net/ropeway/daemon/status"
	"github.com/ropeway-net/ropeway/daemon/topology"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func contextOf(t *testing.T) (context.Context, context.CancelFunc) {
	return context.WithCancel(t.Context())
}

func TestPeersThatAnswerAreLeftAlone(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		p, stop := n.prober(peers(3))
		defer stop()
		after(10 * time.Minute)
		if diff := cmp.Diff(status.Reachability{Probed: 3}, p.Reachability()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		for _, target := range peers(3) {
			if asked := n.sentTo[target.Address]; asked < 50 || asked > 75 {
				t.Errorf("%s was asked %d times in ten minutes, want about 60", target.Peer, asked)
			}
			if asked := n.sentTo[target.Node]; asked != 0 {
				t.Errorf("%s was asked outside the tunnel %d times", target.Peer, asked)
			}
		}
		if n.count(Lost) != 0 || n.count(Answered) == 0 || len(n.told()) != 0 {
			t.Errorf("%d lost, notices %v", n.count(Lost), n.told())
		}
	})
}

func TestSilenceIsToldApartByWhatStillAnswers(t *testing.T) {
	tests := []struct {
		name        string
		target      Target
		silent      []string
		nodeAnswers bool
		want        []string
	}{
		{"the tunnel is blocked", peers(1)[0], []string{"10.0.2.1"}, true, []string{"answers at 192.168.0.2", "10.0.2.1", "UDP port 4789"}},
		{"the node is down", peers(1)[0], []string{"10.0.2.1", "192.168.0.2"}, false, []string{"neither", "down"}},
		{"the node is down, without a tunnel", Target{Peer: "n2", Via: topology.ViaDirect, Address: netip.MustParseAddr("fd00::2"), Node: netip.MustParseAddr("fd00::2")}, []string{"fd00::2"}, false, []string{"fd00::2", "down"}},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, n *network) {
				p, stop := n.prober([]Target{tc.target})
				defer stop()
				after(time.Minute)
				n.set(true, tc.silent...)
				after(30 * time.Second)
				r := p.Reachability()
				if r.Silent != 1 || len(r.Unreachable) != 1 || r.Unreachable[0].NodeAnswers != tc.nodeAnswers || (r.TunnelsOnly == 1) != tc.nodeAnswers {
					t.Fatalf("%+v", r)
				}
				told := n.told()
				if len(told) != 1 || told[0].Reason != status.PeerUnreachable || !told[0].Warning {
					t.Fatalf("notices %+v", told)
				}
				for _, part := range tc.want {
					if !strings.Contains(r.Unreachable[0].Reason, part) || !strings.Contains(told[0].Message, part) {
						t.Errorf("%q and %q do not say %q", r.Unreachable[0].Reason, told[0].Message, part)
					}
				}
				since := r.Unreachable[0].Since
				after(10 * time.Minute)
				if r = p.Reachability(); len(r.Unreachable) != 1 || !r.Unreachable[0].Since.Equal(since) || len(n.told()) != 1 {
					t.Errorf("later: %+v, notices %+v", r, n.told())
				}
				n.set(false, tc.silent...)
				after(20 * time.Second)
				if r = p.Reachability(); r.Silent != 0 || len(r.Unreachable) != 0 {
					t.Errorf("it answers again: %+v", r)
				}
				if told = n.told(); len(told) != 2 || told[1].Reason != status.PeerReachable || told[1].Warning {
					t.Errorf("notices %+v", told)
				}
			})
		})
	}
}

func TestSomeLossesAreNoAlarm(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		p, stop := n.prober(peers(1))
		defer stop()
		after(time.Minute)
		for range 20 {
			lost := n.count(Lost)
			n.set(true, "10.0.2.1")
			for n.count(Lost) < lost+losses-1 {
				after(10 * time.Millisecond)
			}
			n.set(false, "10.0.2.1")
			after(15 * time.Second)
		}
		if r := p.Reachability(); r.Silent != 0 || len(n.told()) != 0 || n.logged("unreachable") != 0 {
			t.Errorf("%+v, notices %v", r, n.told())
		}
	})
}

func TestNodeThatJoinsHasTimeToStart(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		n.set(true, "10.0.2.1", "10.0.3.1")
		p, stop := n.prober(peers(2))
		defer stop()
		after(100 * time.Second)
		if r := p.Reachability(); r.Silent != 0 {
			t.Errorf("after 100 s: %+v", r)
		}
		n.set(false, "10.0.2.1")
		after(time.Minute)
		if r := p.Reachability(); r.Silent != 1 || r.Unreachable[0].Peer != "n3" {
			t.Errorf("after 160 s: %+v", r)
		}
	})
}

func TestRequestsDoNotGrowWithTheCluster(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		for _, target := range peers(2000)[:1000] {
			n.silent[target.Address] = true // the worst: half of them ask for more
		}
		p, stop := n.prober(peers(2000))
		defer stop()
		after(15 * time.Minute)
		for i := 20; i < len(n.sent); i++ {
			if d := n.sent[i].Sub(n.sent[i-20]); d < 990*time.Millisecond {
				t.Fatalf("21 requests within %s", d)
			}
		}
		r := p.Reachability()
		if r.Probed != 2000 || r.Silent != 1000 || r.TunnelsOnly != 1000 || len(r.Unreachable) != most {
			t.Errorf("probed %d, silent %d, tunnels only %d, named %d", r.Probed, r.Silent, r.TunnelsOnly, len(r.Unreachable))
		}
	})
}

func TestManyChangesAreOneNotice(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		_, stop := n.prober(peers(10))
		defer stop()
		after(time.Minute)
		var all []string
		for _, target := range peers(10) {
			all = append(all, target.Address.String(), target.Node.String())
		}
		n.set(true, all...)
		after(time.Minute)
		told := n.told()
		total := 0
		for _, x := range told {
			if x.Reason != status.PeerUnreachable {
				t.Errorf("notice %+v", x)
			}
			total++
		}
		if total == 0 || total > 3 || !strings.Contains(told[0].Message, "of 10 nodes do not answer") {
			t.Errorf("%d notices for ten peers within ten seconds: %+v", total, told)
		}
	})
}

func TestFewNodesTellOfTheSamePeer(t *testing.T) {
	speakers := 0
	for i := range 5000 {
		p := New(Config{Self: "self-" + string(rune('a'+i%26)) + strings.Repeat("x", i/26)})
		p.report.Probed = 5000
		r := &run{Prober: p}
		if r.speaks([]string{"n9"}) {
			speakers++
		}
		if !r.speaks([]string{"n8", "n9"}) || r.speaks(nil) {
			t.Fatal("it may be this node that is cut off")
		}
	}
	if speakers == 0 || speakers > 5*tellers {
		t.Errorf("%d of 5000 nodes tell, want about %d", speakers, tellers)
	}
}

func TestRepliesThatNobodyAskedForAreIgnored(t *testing.T) {
	for name, forge := range map[string]func(Reply) Reply{
		"from another address": func(r Reply) Reply { r.From = netip.MustParseAddr("192.0.2.1"); return r },
		"with another token":   func(r Reply) Reply { r.Token[3]++; return r },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, n *network) {
				n.forge = forge
				p, stop := n.prober(peers(1))
				defer stop()
				after(3 * time.Minute)
				if r := p.Reachability(); r.Silent != 1 {
					t.Errorf("%+v", r)
				}
			})
		})
	}
}

func TestWithoutICMPThereIsNoAlarm(t *testing.T) {
	t.Run("no permission", func(t *testing.T) {
		inBubble(t, func(t *testing.T, n *network) {
			n.open = errors.New("grant CAP_NET_RAW")
			p, stop := n.prober(peers(3))
			defer stop()
			after(20 * time.Minute)
			if r := p.Reachability(); r.Silent != 0 || r.Obstacle != "grant CAP_NET_RAW" || len(n.told()) != 0 {
				t.Errorf("%+v, notices %v", r, n.told())
			}
			if told := n.logged("not probed"); told != 1 {
				t.Errorf("told %d times", told)
			}
			n.mu.Lock()
			n.open = nil
			n.mu.Unlock()
			after(reopen + time.Minute)
			if r := p.Reachability(); r.Obstacle != "" || n.count(Answered) == 0 {
				t.Errorf("with permission: %+v", r)
			}
		})
	})
	t.Run("own firewall", func(t *testing.T) {
		inBubble(t, func(t *testing.T, n *network) {
			n.refuse = syscall.EPERM
			p, stop := n.prober(peers(3))
			defer stop()
			after(20 * time.Minute)
			if r := p.Reachability(); r.Silent != 0 || !strings.Contains(r.Obstacle, "3 peers") || n.logged("firewall drops") != 1 {
				t.Errorf("%+v, told %d times", r, n.logged("firewall drops"))
			}
			n.mu.Lock()
			n.refuse = nil
			n.mu.Unlock()
			after(time.Minute)
			if r := p.Reachability(); r.Obstacle != "" || r.Silent != 0 {
				t.Errorf("without it: %+v", r)
			}
		})
	})
}

func TestMissingRouteIsNamedAsTheCause(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		n.refuse = syscall.ENETUNREACH
		p, stop := n.prober(peers(1))
		defer stop()
		after(3 * time.Minute)
		if r := p.Reachability(); r.Silent != 1 || !strings.Contains(r.Unreachable[0].Reason, "network is unreachable") {
			t.Errorf("%+v", r)
		}
	})
}

func TestPeerThatLeavesIsForgotten(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		n.set(true, "10.0.2.1", "192.168.0.2")
		p, stop := n.prober(peers(2))
		defer stop()
		after(3 * time.Minute)
		for range 50 { // at any moment of a request
			after(100 * time.Millisecond)
			p.Set(peers(2)[1:])
			after(100 * time.Millisecond)
			if r := p.Reachability(); r.Probed != 1 || r.Silent != 0 {
				t.Fatalf("%+v", r)
			}
			p.Set(peers(2))
		}
		p.Set(nil)
		after(time.Second)
		sent := len(n.sent)
		after(time.Hour)
		if len(n.sent) != sent {
			t.Error("nobody is there, and somebody is asked")
		}
	})
}
