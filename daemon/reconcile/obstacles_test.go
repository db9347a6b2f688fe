package reconcile

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ropeway-net/ropeway/daemon/status"
	"github.com/ropeway-net/ropeway/kernel"
)

// notices collects what the operator is told.
type notices struct {
	mu  sync.Mutex
	all []status.Notice
}

func (n *notices) take(notice status.Notice) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.all = append(n.all, notice)
}

func (n *notices) count(reason, part string) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	found := 0
	for _, notice := range n.all {
		if notice.Reason == reason && strings.Contains(notice.Message, part) {
			found++
		}
	}
	return found
}

func docker() kernel.Firewall {
	return kernel.Firewall{Chain: kernel.ForeignChain{Family: kernel.FamilyIPv4, Table: "filter", Chain: "FORWARD"}, Hook: kernel.Forward, Program: "docker"}
}

func (b *bench) admissions() int {
	b.t.Helper()
	s, err := b.fake.Snapshot(b.t.Context())
	if err != nil {
		b.t.Fatal(err)
	}
	return len(s.State.Admissions) + len(s.State.Strays)
}

func TestPodsAreAdmittedByAFirewallThatComesLaterUntilItGoes(t *testing.T) {
	b := newBench(t)
	told := &notices{}
	b.cfg.Notify = told.take
	b.start()
	b.publish(node(1), node(2))
	b.untilHolds(node(1), node(2))

	b.fake.SetFirewalls(docker())
	b.until("pods are admitted", func() bool { return b.admissions() == 2 })
	b.until("the operator knows", func() bool { return told.count(status.ForeignFirewallDrops, "ip filter FORWARD of docker") == 1 })
	if n := told.count(status.RouteRepaired, ""); n != 0 {
		t.Errorf("a new firewall is called drift %d times", n)
	}

	b.fake.FlushChain(docker().Chain)
	b.until("pods are admitted again", func() bool { return b.admissions() == 2 && b.loop.Status().Drift["firewall"] > 0 })
	if n := told.count(status.ForeignFirewallDrops, ""); n != 1 {
		t.Errorf("told %d times of the same firewall", n)
	}

	gone := time.Now()
	b.fake.SetFirewalls()
	b.until("nothing is left in its chain", func() bool { return b.admissions() == 0 })
	// One that is back before the loop looks was never gone.
	b.until("the loop has looked", func() bool {
		last := b.loop.Status().Last
		return last.Time.Add(-last.Duration).After(gone)
	})
	b.fake.SetFirewalls(docker())
	b.until("the operator knows that it is back", func() bool { return told.count(status.ForeignFirewallDrops, "") == 2 })
}

func TestCleanupLeavesOtherFirewallsAsTheyWere(t *testing.T) {
	b := newBench(t)
	b.fake.SetFirewalls(docker())
	b.start()
	b.publish(node(1), node(2))
	b.until("pods are admitted", func() bool { return b.admissions() == 2 })
	b.stop()
	if err := Cleanup(t.Context(), b.cfg, b.fake, RefusePods); err != nil {
		t.Fatal(err)
	}
	if n := b.admissions(); n != 0 {
		t.Errorf("%d rules are left", n)
	}
}

func TestRuleThatCannotBeMadeDoesNotHoldUpTheOthers(t *testing.T) {
	b := newBench(t)
	owned := docker()
	owned.Owned = true
	b.fake.SetFirewalls(owned)
	b.start()
	b.publish(node(1), node(2))
	b.untilHolds(node(1), node(2))
	if problems := b.loop.Status().Problems; len(problems) != 1 || !strings.Contains(problems[0], "ip filter FORWARD") {
		t.Errorf("problems %q", problems)
	}
}

func TestRepairNamesTheProgramThatMadeItNecessary(t *testing.T) {
	b := newBench(t)
	told := &notices{}
	b.cfg.Notify = told.take
	b.start()
	b.publish(node(1), node(2))
	b.untilHolds(node(1), node(2))
	b.fake.Blame(kernel.Culprit{PID: 412, Program: "systemd-network"})
	b.fake.Blame(kernel.Culprit{PID: 99})
	if err := b.fake.Damage(kernel.RouteDel{RouteKey: route("10.244.2.0/24")}); err != nil {
		t.Fatal(err)
	}
	b.until("the operator knows who it was", func() bool {
		return told.count(status.RouteRepaired, "systemd-network (pid 412) changed what Ropeway owns") == 1
	})
	if told.count(status.RouteRepaired, "99") != 0 {
		t.Error("a program without a name is told of")
	}
	b.until("the log has it", func() bool { return b.log.count("pid 99") > 0 })
}
