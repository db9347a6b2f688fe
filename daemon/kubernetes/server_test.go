package kubernetes

import (
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
)

// server is as much of an API server as the daemon talks to: nodes by list,
// watch and streamed list, their status by patch, events.
type server struct {
	t    *testing.T
	http *httptest.Server

	mu      sync.Mutex
	version int
	nodes   map[string]*corev1.Node
	history []change
	grown   chan struct{} // closed when history has grown
	events  []*corev1.Event
	patches []string // bodies of patches of nodes
	asked   []string // verbs and resources
	// refuse answers a request with a status in place of its result; nil or
	// 0: it is answered.
	refuse func(verb, resource string) int
	// old servers do not know the streamed list.
	old bool
}

type change struct {
	version int
	kind    string
	node    *corev1.Node
}

func newServer(t *testing.T) *server {
	s := &server{t: t, nodes: map[string]*corev1.Node{}, grown: make(chan struct{})}
	s.http = httptest.NewUnstartedServer(http.HandlerFunc(s.serve))
	s.http.EnableHTTP2 = true
	s.http.StartTLS()
	t.Cleanup(func() {
		s.http.CloseClientConnections()
		s.http.Close()
	})
	return s
}

// kubeconfig writes a kubeconfig for the server and returns its path.
func (s *server) kubeconfig() string {
	path := filepath.Join(s.t.TempDir(), "kubeconfig")
	s.writeKubeconfig(path, "secret")
	return path
}

func (s *server) writeKubeconfig(path, token string) {
	s.t.Helper()
	ca := base64.StdEncoding.EncodeToString(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.http.Certificate().Raw}))
	text := fmt.Sprintf(`
apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: %q, certificate-authority-data: %s}}]
users: [{name: u, user: {token: %s}}]
contexts: [{name: x, context: {cluster: c, user: u}}]
current-context: x
`, s.http.URL, ca, token)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// put creates or replaces a node.
func (s *server) put(n *corev1.Node) {
	s.mu.Lock()
	defer s.mu.Unlock()
	kind := "MODIFIED"
	if s.nodes[n.Name] == nil {
		kind = "ADDED"
	}
	s.store(kind, n.DeepCopy())
}

// edit changes a node in place.
func (s *server) edit(name string, change func(*corev1.Node)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.nodes[name].DeepCopy()
	change(n)
	s.store("MODIFIED", n)
}

func (s *server) delete(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.nodes[name].DeepCopy()
	s.store("DELETED", n)
	delete(s.nodes, name)
}

func (s *server) store(kind string, n *corev1.Node) {
	s.version++
	n.ResourceVersion = strconv.Itoa(s.version)
	n.APIVersion, n.Kind = "v1", "Node"
	s.nodes[n.Name] = n
	s.history = append(s.history, change{s.version, kind, n})
	close(s.grown)
	s.grown = make(chan struct{})
}

func (s *server) node(name string) *corev1.Node {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.nodes[name].DeepCopy()
}

func (s *server) eventsSeen() []corev1.Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []corev1.Event
	for _, e := range s.events {
		out = append(out, *e)
	}
	return out
}

func (s *server) patchesSeen() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.patches)
}

func (s *server) refusing(refuse func(verb, resource string) int) {
	s.mu.Lock()
	s.refuse = refuse
	s.mu.Unlock()
	s.http.CloseClientConnections()
}

func (s *server) serve(w http.ResponseWriter, r *http.Request) {
	parts := strings.Split(strings.TrimPrefix(r.URL.Path, "/api/v1/"), "/")
	resource := parts[0]
	if resource == "namespaces" {
		resource = parts[2]
	}
	verb := map[string]string{"GET": "list", "POST": "create", "PATCH": "patch"}[r.Method]
	if r.URL.Query().Get("watch") == "true" {
		verb = "watch"
	}
	s.mu.Lock()
	s.asked = append(s.asked, verb+" "+resource)
	refuse, old := s.refuse, s.old
	s.mu.Unlock()
	if refuse != nil {
		if code := refuse(verb, resource); code != 0 {
			fail(w, code, verb, resource)
			return
		}
	}
	switch {
	case verb == "watch" && r.URL.Query().Get("sendInitialEvents") != "" && old:
		fail(w, http.StatusUnprocessableEntity, verb, resource)
	case verb == "watch":
		s.watch(w, r)
	case verb == "list":
		s.list(w)
	case verb == "patch" && resource == "nodes":
		s.patchNode(w, r, parts[1])
	case verb == "patch":
		s.patchEvent(w, r, parts[3])
	default:
		s.createEvent(w, r)
	}
}

func fail(w http.ResponseWriter, code int, verb, resource string) {
	reasons := map[int]metav1.StatusReason{401: metav1.StatusReasonUnauthorized, 403: metav1.StatusReasonForbidden, 404: metav1.StatusReasonNotFound, 410: metav1.StatusReasonExpired, 422: metav1.StatusReasonInvalid, 503: metav1.StatusReasonServiceUnavailable}
	answer(w, code, metav1.Status{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}, Status: "Failure", Code: int32(code), Reason: reasons[code],
		Message: fmt.Sprintf("%s is forbidden: User \"system:serviceaccount:ropeway:ropeway\" cannot %s resource %q", resource, verb, resource),
	})
}

func answer(w http.ResponseWriter, code int, object any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(object)
}

func (s *server) list(w http.ResponseWriter) {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := corev1.NodeList{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "NodeList"}, ListMeta: metav1.ListMeta{ResourceVersion: strconv.Itoa(s.version)}}
	for _, n := range s.nodes {
		list.Items = append(list.Items, *n)
	}
	answer(w, http.StatusOK, list)
}

func (s *server) watch(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusOK)
	enc := json.NewEncoder(w)
	send := func(kind string, n *corev1.Node) { _ = enc.Encode(map[string]any{"type": kind, "object": n}) }
	s.mu.Lock()
	at, _ := strconv.Atoi(r.URL.Query().Get("resourceVersion"))
	if r.URL.Query().Get("sendInitialEvents") != "" {
		at = s.version
		for _, n := range s.nodes {
			send("ADDED", n)
		}
		send("BOOKMARK", &corev1.Node{
			TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Node"},
			ObjectMeta: metav1.ObjectMeta{ResourceVersion: strconv.Itoa(s.version), Annotations: map[string]string{metav1.InitialEventsAnnotationKey: "true"}},
		})
	}
	s.mu.Unlock()
	for {
		s.mu.Lock()
		for _, c := range s.history {
			if c.version > at {
				send(c.kind, c.node)
			}
		}
		at = s.version
		grown := s.grown
		s.mu.Unlock()
		_ = http.NewResponseController(w).Flush()
		select {
		case <-r.Context().Done():
			return
		case <-grown:
		}
	}
}

func (s *server) patchNode(w http.ResponseWriter, r *http.Request, name string) {
	body, _ := io.ReadAll(r.Body)
	s.mu.Lock()
	defer s.mu.Unlock()
	have := s.nodes[name]
	if have == nil {
		fail(w, http.StatusNotFound, "patch", "nodes")
		return
	}
	s.patches = append(s.patches, string(body))
	before, err := json.Marshal(have)
	if err != nil {
		s.t.Error(err)
	}
	after, err := strategicpatch.StrategicMergePatch(before, body, corev1.Node{})
	if err != nil {
		s.t.Errorf("patch %s: %v", body, err)
		return
	}
	var n corev1.Node
	if err := json.Unmarshal(after, &n); err != nil {
		s.t.Error(err)
	}
	s.store("MODIFIED", &n)
	answer(w, http.StatusOK, &n)
}

func (s *server) patchEvent(w http.ResponseWriter, r *http.Request, name string) {
	body, _ := io.ReadAll(r.Body)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.events {
		if e.Name == name {
			if err := json.Unmarshal(body, e); err != nil {
				s.t.Errorf("patch %s: %v", body, err)
			}
			answer(w, http.StatusOK, e)
			return
		}
	}
	fail(w, http.StatusNotFound, "patch", "events")
}

func (s *server) createEvent(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	scheme := runtime.NewScheme()
	scheme.AddKnownTypes(corev1.SchemeGroupVersion, &corev1.Event{})
	object, _, err := protobuf.NewSerializer(scheme, scheme).Decode(body, nil, nil)
	event, ok := object.(*corev1.Event)
	if err != nil || !ok {
		s.t.Errorf("an event in protobuf was expected, not %q: %v", body, err)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	event.APIVersion, event.Kind = "v1", "Event"
	s.events = append(s.events, event)
	answer(w, http.StatusCreated, event)
}

// kubelet makes a Node object as a kubelet registers it, with all that the
// daemon has no use for.
func kubelet(number int) *corev1.Node {
	cidrs := []string{fmt.Sprintf("10.%d.%d.0/24", 100+number>>8, number&255)}
	n := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{
			Name: fmt.Sprintf("n%d", number), UID: "uid", CreationTimestamp: metav1.NewTime(time.Unix(1_800_000_000+int64(number), 0)),
			Labels:        map[string]string{"kubernetes.io/os": "linux"},
			Annotations:   map[string]string{"volumes.kubernetes.io/controller-managed-attach-detach": "true"},
			ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "kubelet", FieldsV1: metav1.NewFieldsV1(`{"f:status":{}}`)}},
		},
		Spec: corev1.NodeSpec{PodCIDR: cidrs[0], PodCIDRs: cidrs},
		Status: corev1.NodeStatus{
			Addresses: []corev1.NodeAddress{
				{Type: corev1.NodeInternalIP, Address: fmt.Sprintf("192.168.%d.%d", 1+number>>8, number&255)},
				{Type: corev1.NodeHostName, Address: fmt.Sprintf("n%d", number)},
			},
			Images: []corev1.ContainerImage{{Names: []string{"registry.example/pause:3"}, SizeBytes: 1}},
		},
	}
	beat(n)
	return n
}

// beat is what a kubelet does again and again.
func beat(n *corev1.Node) {
	now := metav1.Now()
	ready := corev1.NodeCondition{Type: corev1.NodeReady, Status: corev1.ConditionTrue, LastHeartbeatTime: now}
	n.Status.Conditions = append(slices.DeleteFunc(n.Status.Conditions, func(c corev1.NodeCondition) bool { return c.Type == corev1.NodeReady }), ready)
}
