package kubernetes

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/ropeway-net/ropeway/daemon/cluster"
)

func TestNodesAreFollowed(t *testing.T) {
	for _, old := range []bool{false, true} {
		t.Run(fmt.Sprintf("server without streamed list %v", old), func(t *testing.T) {
			s := newServer(t)
			s.old = old
			s.put(kubelet(1))
			s.put(kubelet(2))
			b := start(t, s.kubeconfig())
			b.until("two nodes", func() bool { return len(b.last()) == 2 })

			s.put(kubelet(3))
			b.until("a node that joins", func() bool { return len(b.last()) == 3 })
			s.edit("n3", func(n *corev1.Node) { n.Status.Addresses[0].Address = "192.168.9.9" })
			b.untilNode("n3", func(n cluster.Node) bool { return n.Addresses[0].String() == "192.168.9.9" })
			s.delete("n3")
			b.until("a node that leaves", func() bool { return len(b.last()) == 2 })
			again := kubelet(3)
			again.Spec.PodCIDR, again.Spec.PodCIDRs = "10.9.9.0/24", []string{"10.9.9.0/24"}
			s.put(again)
			b.untilNode("n3", func(n cluster.Node) bool { return n.PodCIDRs[0].String() == "10.9.9.0/24" })
		})
	}
}

func TestListIsReadOnce(t *testing.T) {
	s := newServer(t)
	s.put(kubelet(1))
	s.put(kubelet(2))
	api := hastened(Config{Node: "n1", Kubeconfig: s.kubeconfig(), Log: discard()})
	nodes, err := api.Load(t.Context())
	if err != nil || len(nodes) != 2 || nodes[1].Name != "n2" || nodes[1].Addresses[0].String() != "192.168.1.2" {
		t.Errorf("nodes %+v, %v", nodes, err)
	}
}

func TestHeartbeatsAndLabelsPublishNothing(t *testing.T) {
	s := newServer(t)
	for n := range 50 {
		s.put(kubelet(n + 1))
	}
	b := start(t, s.kubeconfig())
	b.until("all nodes", func() bool { return len(b.last()) == 50 })
	before, reports := b.publications(), len(b.reports())
	for n := range 50 {
		s.edit(fmt.Sprintf("n%d", n+1), func(n *corev1.Node) {
			beat(n)
			n.Labels["x"] = "y"
			n.Status.Images = append(n.Status.Images, n.Status.Images...)
		})
	}
	// What comes after them has been seen only when they have.
	s.put(kubelet(51))
	b.until("the change behind them", func() bool { return len(b.last()) == 51 })
	if n := b.publications() - before; n != 1 {
		t.Errorf("%d publications for one change and 50 heartbeats", n)
	}
	if n := len(b.reports()) - reports; n != 0 || b.logged() != "" {
		t.Errorf("%d reports, log %q", n, b.logged())
	}
}

func TestFiveThousandNodesArePublishedOnce(t *testing.T) {
	s := newServer(t)
	const count = 5000
	for n := range count {
		s.put(kubelet(n + 1))
	}
	b := start(t, s.kubeconfig())
	b.until("all nodes", func() bool { return len(b.last()) == count })
	if n := b.publications(); n != 1 {
		t.Errorf("the first list was published in %d parts", n)
	}
	for _, n := range b.last() {
		if len(n.Problems) > 0 {
			t.Fatalf("node %s: %q", n.Name, n.Problems)
		}
	}
}

func TestNodeWithoutPodCIDRIsLeftOutUntilItHasOne(t *testing.T) {
	s := newServer(t)
	s.put(kubelet(1))
	bare := kubelet(2)
	bare.Spec = corev1.NodeSpec{}
	s.put(bare)
	b := start(t, s.kubeconfig())
	b.until("the own node", func() bool { return len(b.last()) == 1 })
	s.edit("n2", func(n *corev1.Node) { n.Spec.PodCIDR = "10.100.2.0/24" }) // as before there were two families
	b.untilNode("n2", func(n cluster.Node) bool { return len(n.PodCIDRs) == 1 && len(n.Problems) == 0 })
}

func TestOwnNodeWithoutPodCIDRSaysWhatToDo(t *testing.T) {
	s := newServer(t)
	bare := kubelet(1)
	bare.Spec = corev1.NodeSpec{}
	s.put(bare)
	b := start(t, s.kubeconfig())
	b.untilNode("n1", func(n cluster.Node) bool {
		return strings.Contains(strings.Join(n.Problems, ""), "--allocate-node-cidrs")
	})
	b.until("an event", func() bool {
		e := s.eventsSeen()
		return len(e) == 1 && e[0].Reason == "PodCIDRMissing" && strings.Contains(e[0].Message, "--allocate-node-cidrs")
	})
	s.edit("n1", func(n *corev1.Node) { n.Spec.PodCIDRs = []string{"10.100.1.0/24", "fd10:1::/64"} })
	b.untilNode("n1", func(n cluster.Node) bool { return len(n.PodCIDRs) == 2 && len(n.Problems) == 0 })
}

func TestOneBadNodeHoldsUpNoOther(t *testing.T) {
	s := newServer(t)
	s.put(kubelet(1))
	bad := []func(*corev1.Node){
		func(n *corev1.Node) { n.Status.Addresses = nil },
		func(n *corev1.Node) {
			n.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeExternalIP, Address: "1.2.3.4"}}
		},
		func(n *corev1.Node) { n.Status.Addresses[0].Address = "fe80::1" },
		func(n *corev1.Node) { n.Status.Addresses[0].Address = "127.0.0.1" },
		func(n *corev1.Node) { n.Status.Addresses[0].Address = "::ffff:192.168.1.5" },
		func(n *corev1.Node) { n.Status.Addresses[0].Address = "bad" },
		func(n *corev1.Node) { n.Status.Addresses[0].Address = "192.168.1.1" }, // of n1
		func(n *corev1.Node) { n.Spec.PodCIDRs = []string{"nonsense"} },
		func(n *corev1.Node) { n.Spec.PodCIDRs = []string{"10.100.1.0/24"} }, // of n1
		func(n *corev1.Node) { n.Spec.PodCIDRs = []string{"10.100.0.0/16"} }, // around all
		func(n *corev1.Node) { n.Spec.PodCIDRs = []string{"0.0.0.0/0"} },
	}
	for at, spoil := range bad {
		n := kubelet(10 + at)
		spoil(n)
		s.put(n)
	}
	s.put(kubelet(2))
	b := start(t, s.kubeconfig())
	b.untilNode("n2", func(n cluster.Node) bool { return len(n.Problems) == 0 && len(n.PodCIDRs) == 1 })
	nodes := b.last()
	if n := nodes["n1"]; len(n.Problems) > 0 || len(n.Addresses) != 1 || len(n.PodCIDRs) != 1 {
		t.Errorf("the own node suffers: %+v", n)
	}
	for at := range bad {
		name := fmt.Sprintf("n%d", 10+at)
		if n, known := nodes[name]; known && len(n.Problems) == 0 {
			t.Errorf("nothing is said about node %s: %+v", name, n)
		}
	}
}

func TestConflictIsToldByThoseConcerned(t *testing.T) {
	s := newServer(t)
	older, bystander := kubelet(2), kubelet(3)
	older.CreationTimestamp.Time = older.CreationTimestamp.Add(-time.Hour)
	s.put(kubelet(1))
	s.put(older)
	s.put(bystander)
	b := start(t, s.kubeconfig())
	b.until("all nodes", func() bool { return len(b.last()) == 3 })
	s.edit("n3", func(n *corev1.Node) { n.Spec.PodCIDRs = older.Spec.PodCIDRs })
	b.untilNode("n3", func(n cluster.Node) bool { return len(n.PodCIDRs) == 0 })
	s.edit("n1", func(n *corev1.Node) { n.Spec.PodCIDRs = older.Spec.PodCIDRs })
	b.untilNode("n1", func(n cluster.Node) bool {
		return len(n.PodCIDRs) == 0 && strings.Contains(strings.Join(n.Problems, ""), "node n2, which is older")
	})
	b.until("an event", func() bool { return len(s.eventsSeen()) > 0 })
	for _, e := range s.eventsSeen() {
		if e.Reason != "PodCIDRConflict" || !strings.Contains(e.Message, "n1") || !strings.Contains(e.Message, "n2") || strings.Contains(e.Message, "n3") {
			t.Errorf("event %s: %s", e.Reason, e.Message)
		}
	}
}

func TestAnnotationOfAPeerIsPreferredWhileItIsGood(t *testing.T) {
	s := newServer(t)
	s.put(kubelet(1))
	s.put(kubelet(2))
	b := start(t, s.kubeconfig())
	b.until("all nodes", func() bool { return len(b.last()) == 2 })
	tests := []struct {
		annotation, address, problem string
	}{
		{"10.9.9.2, fd00::2", "10.9.9.2", ""},
		{"garbage", "192.168.1.2", "garbage"},
		{"fe80::1", "192.168.1.2", "link-local"},
		{"10.9.9.2,10.9.9.3", "192.168.1.2", "several"},
		{strings.Repeat("10.9.9.2,", 1000), "192.168.1.2", "longer"},
		{"fd00::2", "fd00::2", ""},
		{"", "192.168.1.2", ""},
	}
	for _, tc := range tests {
		s.edit("n2", func(n *corev1.Node) { n.Annotations[AddressAnnotation] = tc.annotation })
		b.untilNode("n2", func(n cluster.Node) bool {
			said := strings.Join(n.Problems, "")
			return n.Addresses[0].String() == tc.address && strings.Contains(said, tc.problem) && (tc.problem != "" || said == "")
		})
	}
}

func TestRefusalsSayWhatIsWrong(t *testing.T) {
	for _, tc := range []struct {
		code int
		want []string
	}{
		{http.StatusForbidden, []string{"system:serviceaccount:ropeway:ropeway may not watch nodes", `resources ["nodes"]`, `verbs ["watch"]`, "ClusterRole"}},
		{http.StatusUnauthorized, []string{"401", "expired"}},
		{http.StatusServiceUnavailable, []string{"cannot watch nodes"}},
	} {
		t.Run(http.StatusText(tc.code), func(t *testing.T) {
			s := newServer(t)
			s.put(kubelet(1))
			s.refusing(func(string, string) int { return tc.code })
			b := start(t, s.kubeconfig())
			b.untilComplaint(tc.want...)
			s.refusing(nil)
			b.until("the list", func() bool { return len(b.last()) == 1 && b.complaint() == "" })
			if n := len(b.reports()); n != 2 {
				t.Errorf("%d reports: %q", n, b.reports())
			}
		})
	}
}

func TestLossOfTheServerIsToldOnceAndMadeUpFor(t *testing.T) {
	s := newServer(t)
	s.put(kubelet(1))
	b := start(t, s.kubeconfig())
	b.until("the list", func() bool { return len(b.last()) == 1 })
	s.refusing(func(string, string) int { return http.StatusServiceUnavailable })
	b.untilComplaint("cannot watch nodes")
	s.put(kubelet(2))
	s.refusing(nil)
	b.until("what was missed", func() bool { return len(b.last()) == 2 && b.complaint() == "" })
	if n := len(b.reports()); n != 2 {
		t.Errorf("%d reports: %q", n, b.reports())
	}
	if n := b.publications(); n != 2 {
		t.Errorf("%d publications", n)
	}
}

func TestServerThatForgotTheVersionIsListedAnew(t *testing.T) {
	s := newServer(t)
	s.put(kubelet(1))
	b := start(t, s.kubeconfig())
	b.until("the list", func() bool { return len(b.last()) == 1 })
	expired := false
	s.refusing(func(verb, _ string) int {
		if verb == "watch" && !expired {
			expired = true
			return http.StatusGone
		}
		return 0
	})
	s.put(kubelet(2))
	b.until("what was missed", func() bool { return len(b.last()) == 2 })
	for _, r := range b.reports() {
		if strings.Contains(r, "410") || strings.Contains(r, "Gone") {
			t.Errorf("an ordinary part of the conversation was reported: %q", r)
		}
	}
}

func TestServerThatIsNotThereIsNamed(t *testing.T) {
	s := newServer(t)
	path := s.kubeconfig()
	s.http.Close()
	b := start(t, path)
	b.untilComplaint(s.http.URL, "connection refused")
	if len(b.reports()) != 1 {
		t.Errorf("reports %q", b.reports())
	}
}

func TestWrongCertificateIsNamed(t *testing.T) {
	s := newServer(t)
	path := s.kubeconfig()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	wrong := strings.Replace(string(text), "certificate-authority-data", "tls-server-name: elsewhere, certificate-authority-data", 1)
	if err := os.WriteFile(path, []byte(wrong), 0o600); err != nil {
		t.Fatal(err)
	}
	s.http.Config.ErrorLog = quietServer()
	b := start(t, path)
	b.untilComplaint("certificate of the API server "+s.http.URL, "elsewhere", "CA")
}

func TestServerWithoutTLSIsNamed(t *testing.T) {
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	s := newServer(t)
	s.http.URL = strings.Replace(plain.URL, "http:", "https:", 1)
	b := start(t, s.kubeconfig())
	b.untilComplaint(s.http.URL, "does not speak TLS")
}
