package kubernetes

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/ropeway-net/ropeway/daemon/status"
)

func repair(counts map[string]int) status.Notice {
	return status.Notice{Warning: true, Reason: status.RouteRepaired, Message: "repaired", Counts: counts}
}

func (b *bench) untilEvents(s *server, what string, holds func([]corev1.Event) bool) []corev1.Event {
	b.Helper()
	b.until(what, func() bool { return holds(s.eventsSeen()) })
	return s.eventsSeen()
}

func TestEventIsWhereKubectlDescribeLooks(t *testing.T) {
	s := newServer(t)
	s.put(kubelet(1))
	b := start(t, s.kubeconfig())
	b.api.Notify(status.Notice{Reason: status.PoolNearlyFull, Message: "230 of 253 addresses are in use", Warning: true})
	b.api.Notify(status.Notice{Reason: status.PeerUnreachable, Message: "n2 does not answer", Node: "n2"})
	events := b.untilEvents(s, "two events", func(e []corev1.Event) bool { return len(e) == 2 })
	for _, e := range events {
		node, kind := "n1", "Warning"
		if e.Reason == status.PeerUnreachable {
			node, kind = "n2", "Normal"
		}
		o := e.InvolvedObject
		if o.Kind != "Node" || o.Name != node || string(o.UID) != node || o.APIVersion != "v1" {
			t.Errorf("event is about %+v", o)
		}
		if e.Namespace != "default" || e.Type != kind || e.Count != 1 || e.Source.Component != "ropewayd" || e.Source.Host != "n1" || e.FirstTimestamp.IsZero() || e.LastTimestamp.IsZero() {
			t.Errorf("event %+v", e)
		}
	}
}

func TestRepairsAreOneEventWithCountsByKind(t *testing.T) {
	s := newServer(t)
	s.put(kubelet(1))
	b := start(t, s.kubeconfig())
	for range 10 {
		b.api.Notify(repair(map[string]int{"route": 2, "fdb": 1}))
	}
	b.untilEvents(s, "the event", func(e []corev1.Event) bool { return len(e) == 1 && e[0].Count == 10 })
	if m := s.eventsSeen()[0].Message; m != "repaired (10 fdb, 20 route)" {
		t.Errorf("message %q", m)
	}
	b.api.Notify(repair(map[string]int{"route": 1}))
	events := b.untilEvents(s, "the count", func(e []corev1.Event) bool { return e[0].Count == 11 })
	if len(events) != 1 || events[0].Message != "repaired (10 fdb, 21 route)" {
		t.Errorf("events %+v", events)
	}
}

func TestManyNoticesAreFewWrites(t *testing.T) {
	s := newServer(t)
	s.put(kubelet(1))
	b := start(t, s.kubeconfig())
	begin := time.Now()
	for n := range 2000 {
		b.api.Notify(status.Notice{Reason: status.PeerUnreachable, Message: fmt.Sprintf("node p%d does not answer", n)})
	}
	events := b.untilEvents(s, "the event", func(e []corev1.Event) bool { return len(e) > 0 })
	most := 2 + int(time.Since(begin)/b.api.calm.event)
	if len(events) > most {
		t.Errorf("%d events", len(events))
	}
	if m := events[0].Message; !strings.Contains(m, "node p0 ") || !strings.Contains(m, "more") || len(m) > mostMessage {
		t.Errorf("message %q", m)
	}
}

func TestNoticesWithoutAServerAreBounded(t *testing.T) {
	a := hastened(Config{Node: "n1", Log: discard()})
	for n := range 10_000 {
		a.Notify(status.Notice{Reason: fmt.Sprintf("Reason%d", n), Message: fmt.Sprint(n)})
		a.Notify(status.Notice{Reason: "Same", Message: fmt.Sprint(n)})
	}
	if n := len(a.bin.subjects); n > mostTopics {
		t.Errorf("%d topics are waiting", n)
	}
	g := a.bin.subjects[topic{"Same", "n1"}].waiting
	if g.count != 10_000 || len(g.texts) != mostTexts || g.more != 10_000-mostTexts {
		t.Errorf("%d notices, %d texts and %d more", g.count, len(g.texts), g.more)
	}
}

func TestOldSubjectMakesRoomForANewOne(t *testing.T) {
	b := newBin()
	now := time.Unix(1000, 0)
	for n := range mostTopics {
		t := topic{fmt.Sprint(n), "n1"}
		b.gather(status.Notice{Reason: t.reason, Node: t.node}, now, calm{})
		b.take(now)
	}
	b.wrote(topic{"7", "n1"}, written{}, now.Add(-time.Hour))
	if !b.gather(status.Notice{Reason: "new", Node: "n1"}, now, calm{}) {
		t.Error("there was no room")
	}
	if _, still := b.subjects[topic{"7", "n1"}]; still || len(b.subjects) != mostTopics {
		t.Errorf("%d subjects", len(b.subjects))
	}
}

func TestEventsWaitForTheServer(t *testing.T) {
	s := newServer(t)
	s.put(kubelet(1))
	s.refusing(func(_, resource string) int {
		if resource == "events" {
			return http.StatusForbidden
		}
		return 0
	})
	b := start(t, s.kubeconfig())
	b.api.Notify(repair(map[string]int{"route": 1}))
	b.until("a line about it", func() bool { return strings.Contains(b.logged(), `verbs [\"create\"]`) })
	b.api.Notify(repair(map[string]int{"link": 1}))
	s.refusing(nil)
	b.untilEvents(s, "both", func(e []corev1.Event) bool {
		return len(e) == 1 && e[0].Count == 2 && strings.Contains(e[0].Message, "1 link, 1 route")
	})
	if n := strings.Count(b.logged(), "events cannot be written"); n != 1 {
		t.Errorf("%d lines:\n%s", n, b.logged())
	}
}

func TestEventThatTheServerHasDroppedIsMadeAnew(t *testing.T) {
	s := newServer(t)
	s.put(kubelet(1))
	b := start(t, s.kubeconfig())
	b.api.Notify(repair(nil))
	b.untilEvents(s, "the event", func(e []corev1.Event) bool { return len(e) == 1 })
	s.mu.Lock()
	s.events = nil
	s.mu.Unlock()
	b.api.Notify(repair(nil))
	events := b.untilEvents(s, "another one", func(e []corev1.Event) bool { return len(e) == 1 })
	if events[0].Count != 1 {
		t.Errorf("count %d", events[0].Count)
	}
}

func TestEventOfALongNameIsValid(t *testing.T) {
	name := eventName(strings.Repeat("a", 199)+".b.c", time.Unix(1, 0))
	if len(name) > 253 || strings.Contains(name, "..") {
		t.Errorf("name %q", name)
	}
}
