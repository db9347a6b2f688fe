package kubernetes

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/ropeway-net/ropeway/daemon/cluster"
	"github.com/ropeway-net/ropeway/daemon/status"
)

func (s *server) condition(name string) corev1.NodeCondition {
	for _, c := range s.node(name).Status.Conditions {
		if c.Type == corev1.NodeNetworkUnavailable {
			return c
		}
	}
	return corev1.NodeCondition{}
}

func report(ready bool, cause string) status.Report {
	return status.Report{Ready: ready, Reason: cause}
}

func TestConditionFollowsTheTruthBothWays(t *testing.T) {
	s := newServer(t)
	s.put(kubelet(1))
	b := start(t, s.kubeconfig())
	b.until("the list", func() bool { return len(b.last()) == 1 })

	b.api.Passed(report(true, ""))
	b.until("up", func() bool {
		c := s.condition("n1")
		return c.Status == corev1.ConditionFalse && c.Reason == ReasonUp && !c.LastTransitionTime.IsZero()
	})
	b.api.Passed(report(false, "the kernel is on fire"))
	b.until("down", func() bool {
		c := s.condition("n1")
		return c.Status == corev1.ConditionTrue && c.Reason == ReasonDown && c.Message == "the kernel is on fire"
	})
	b.api.Passed(report(true, ""))
	b.until("up again", func() bool { return s.condition("n1").Status == corev1.ConditionFalse })
	if n := s.node("n1"); len(n.Status.Conditions) != 2 || len(n.Status.Images) != 1 {
		t.Errorf("the patch changed more than its condition: %+v", n.Status)
	}
}

func TestConditionLeftBehindIsCorrected(t *testing.T) {
	for _, tc := range []struct {
		name  string
		there corev1.ConditionStatus
		now   bool
		want  corev1.ConditionStatus
	}{
		{"was down, is up", corev1.ConditionTrue, true, corev1.ConditionFalse},
		{"was up, is down", corev1.ConditionFalse, false, corev1.ConditionTrue},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newServer(t)
			n := kubelet(1)
			n.Status.Conditions = append(n.Status.Conditions, corev1.NodeCondition{Type: corev1.NodeNetworkUnavailable, Status: tc.there, Reason: "Earlier"})
			s.put(n)
			b := start(t, s.kubeconfig())
			b.api.Passed(report(tc.now, "cause"))
			b.until("the correction", func() bool { return s.condition("n1").Status == tc.want })
		})
	}
}

func TestConditionOfSomebodyElseIsOverwritten(t *testing.T) {
	s := newServer(t)
	s.put(kubelet(1))
	b := start(t, s.kubeconfig())
	b.api.Passed(report(true, ""))
	b.until("up", func() bool { return s.condition("n1").Reason == ReasonUp })
	for _, spoil := range []func(*corev1.Node){
		func(n *corev1.Node) { n.Status.Conditions = nil },
		func(n *corev1.Node) {
			n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeNetworkUnavailable, Status: corev1.ConditionTrue, Reason: "NoRouteCreated"}}
		},
	} {
		s.edit("n1", spoil)
		b.until("ours again", func() bool { return s.condition("n1").Reason == ReasonUp })
	}
}

func TestNothingIsWrittenThatIsThere(t *testing.T) {
	s := newServer(t)
	s.put(kubelet(1))
	b := start(t, s.kubeconfig())
	b.api.Passed(report(true, ""))
	b.until("up", func() bool { return s.condition("n1").Reason == ReasonUp })
	for range 100 {
		s.edit("n1", beat)
		b.api.Passed(report(true, ""))
	}
	s.put(kubelet(2))
	b.until("what comes behind", func() bool { return len(b.last()) == 2 })
	time.Sleep(2 * b.api.calm.rewrite) // a write that is one too many has its time
	if p := s.patchesSeen(); len(p) != 1 {
		t.Errorf("%d patches: %q", len(p), p)
	}
}

func TestShortPauseOfReadinessIsNotTold(t *testing.T) {
	now := time.Unix(1000, 0)
	up := condition{status: corev1.ConditionFalse, reason: ReasonUp, message: upMessage}
	tests := []struct {
		name  string
		truth truth
		have  condition
		want  corev1.ConditionStatus
		again time.Duration
	}{
		{"nothing is known", truth{}, up, corev1.ConditionFalse, 0},
		{"ready", truth{known: true, ready: true}, condition{}, corev1.ConditionFalse, 0},
		{"not ready for a moment", truth{known: true, since: now.Add(-time.Second)}, up, corev1.ConditionFalse, 4 * time.Second},
		{"not ready for a moment, nothing there", truth{known: true, since: now.Add(-time.Second)}, condition{}, "", 4 * time.Second},
		{"not ready for long", truth{known: true, since: now.Add(-5 * time.Second)}, up, corev1.ConditionTrue, 0},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			got, again := tc.truth.condition(tc.have, now, 5*time.Second)
			if got.status != tc.want || again != tc.again {
				t.Errorf("status %q, again %v; want %q, %v", got.status, again, tc.want, tc.again)
			}
		})
	}
}

func TestServerThatIsAwayMakesNoNodeUnavailable(t *testing.T) {
	s := newServer(t)
	s.put(kubelet(1))
	b := start(t, s.kubeconfig())
	b.api.Passed(report(true, ""))
	b.until("up", func() bool { return s.condition("n1").Reason == ReasonUp })
	s.refusing(func(string, string) int { return http.StatusServiceUnavailable })
	b.untilComplaint("cannot watch")
	s.refusing(nil)
	b.until("the server is back", func() bool { return b.complaint() == "" })
	// The server may have gone before it told of the patch, which is then repeated.
	unavailable := slices.ContainsFunc(s.patchesSeen(), func(p string) bool { return strings.Contains(p, string(corev1.ConditionTrue)) })
	if c := s.condition("n1"); c.Status != corev1.ConditionFalse || unavailable {
		t.Errorf("condition %+v, patches %q", c, s.patchesSeen())
	}
}

func TestRefusedPatchIsToldOnceAndTriedAgain(t *testing.T) {
	s := newServer(t)
	s.put(kubelet(1))
	s.refusing(func(verb, _ string) int {
		if verb == "patch" {
			return http.StatusForbidden
		}
		return 0
	})
	b := start(t, s.kubeconfig())
	b.api.Passed(report(true, ""))
	attempts := func() int {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(slices.DeleteFunc(slices.Clone(s.asked), func(a string) bool { return a != "patch nodes" }))
	}
	b.until("two attempts", func() bool { return attempts() >= 2 })
	if n := strings.Count(b.logged(), `nodes/status`); n != 1+1 { // once in the words, once in the rule
		t.Errorf("log:\n%s", b.logged())
	}
	if len(b.last()) != 1 || b.complaint() != "" {
		t.Errorf("the list suffers: %+v, %q", b.last(), b.complaint())
	}
	s.refusing(nil)
	b.until("up", func() bool { return s.condition("n1").Reason == ReasonUp })
}

func chosen(addresses ...string) status.Report {
	r := report(true, "")
	for _, text := range addresses {
		r.Address.Addresses = append(r.Address.Addresses, netip.MustParseAddr(text))
	}
	r.Address.Chosen = true
	return r
}

func TestChosenAddressIsAnnouncedAndTakenBack(t *testing.T) {
	s := newServer(t)
	s.put(kubelet(1))
	b := start(t, s.kubeconfig())
	b.api.Passed(chosen("10.9.9.1", "fd00::1"))
	b.until("the annotation", func() bool { return s.node("n1").Annotations[AddressAnnotation] == "10.9.9.1,fd00::1" })
	b.untilNode("n1", func(n cluster.Node) bool { return n.Addresses[0].String() == "10.9.9.1" && len(n.Problems) == 0 })

	listed := chosen("192.168.1.1")
	listed.Address.Chosen = false
	b.api.Passed(listed)
	b.until("no annotation", func() bool { _, there := s.node("n1").Annotations[AddressAnnotation]; return !there })
	b.untilNode("n1", func(n cluster.Node) bool { return n.Addresses[0].String() == "192.168.1.1" })
	if n := s.node("n1"); len(n.Annotations) != 1 {
		t.Errorf("annotations %v", n.Annotations)
	}
}

func TestAnnotationOfAnEarlierConfigurationDoesNotCount(t *testing.T) {
	s := newServer(t)
	n := kubelet(1)
	n.Annotations[AddressAnnotation] = "10.9.9.1"
	s.put(n)
	b := start(t, s.kubeconfig())
	b.untilNode("n1", func(n cluster.Node) bool { return n.Addresses[0].String() == "192.168.1.1" })
}

func TestAddressThatAllNodesListIsNoConflictOnceEachHasChosen(t *testing.T) {
	s := newServer(t)
	for number, address := range map[int]string{1: "", 2: "10.9.9.2", 3: "10.9.9.3"} {
		n := kubelet(number)
		n.Status.Addresses[0].Address = "10.0.2.15" // behind address translation, the same everywhere
		if address != "" {
			n.Annotations[AddressAnnotation] = address
		}
		s.put(n)
	}
	b := start(t, s.kubeconfig())
	b.api.Passed(chosen("10.9.9.1"))
	b.until("three nodes without a problem", func() bool {
		for _, n := range b.last() {
			if len(n.Problems) > 0 || n.Addresses[0].String() == "10.0.2.15" {
				return false
			}
		}
		return len(b.last()) == 3
	})
}

func TestMessageIsCutBetweenCharacters(t *testing.T) {
	if got := shorten("äöü", 5); got != "ä..." {
		t.Errorf("%q", got)
	}
	if got := shorten(strings.Repeat("é", 1000), mostMessage); len(got) > mostMessage || !strings.HasSuffix(got, "é...") {
		t.Errorf("%d bytes", len(got))
	}
	if got := shorten("short", 5); got != "short" {
		t.Errorf("%q", got)
	}
}
