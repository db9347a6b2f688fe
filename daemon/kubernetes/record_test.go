package kubernetes

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ropeway-net/ropeway/daemon/cluster"
)

func TestNothingIsKeptThatIsNotUsed(t *testing.T) {
	a := New(Config{Node: "n2"})
	for _, number := range []int{1, 2} {
		object, err := a.strip(kubelet(number))
		if err != nil {
			t.Fatal(err)
		}
		r, ok := object.(*record)
		if !ok {
			t.Fatalf("%T", object)
		}
		if r.Labels != nil || r.Annotations != nil || r.ManagedFields != nil || r.UID == "" || r.ResourceVersion != "" {
			t.Errorf("metadata %+v", r.ObjectMeta)
		}
		if again, err := a.strip(r); again != r || err != nil {
			t.Errorf("a record was changed: %v, %v", again, err)
		}
		if (r.own != nil) != (number == 2) {
			t.Errorf("node %d: own record %v", number, r.own)
		}
	}
}

// FuzzNode feeds what an API server would take for a Node: nothing of it may
// crash the daemon, or make a list that the rest of it refuses.
func FuzzNode(f *testing.F) {
	f.Add("n1", "10.0.0.1", "fd00::1", "10.244.1.0/24", "fd10::/64", "10.0.0.9,fd00::9")
	f.Add("n2", "::ffff:10.0.0.1", "fe80::1%eth0", "10.244.1.7/24", "", ",")
	f.Add("N", "", "x", "0.0.0.0/0", "::/0", " 10.0.0.1 , 10.0.0.2")
	f.Fuzz(func(t *testing.T, name, a1, a2, p1, p2, annotation string) {
		api := New(Config{Node: "n1"})
		node := &corev1.Node{
			ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{AddressAnnotation: annotation}},
			Spec:       corev1.NodeSpec{PodCIDR: p1, PodCIDRs: []string{p1, p2}},
			Status:     corev1.NodeStatus{Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: a1}, {Type: corev1.NodeInternalIP, Address: a2}}},
		}
		nodes, _ := api.nodesOf([]any{api.record(node), api.record(kubelet(2)), api.record(kubelet(1))})
		if err := cluster.Validate(nodes); err != nil {
			t.Errorf("nodes are not valid: %v", err)
		}
	})
}
