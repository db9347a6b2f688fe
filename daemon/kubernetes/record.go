package kubernetes

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ropeway-net/ropeway/daemon/cluster"
)

// AddressAnnotation is where a node says by which of its addresses, divided by
// commas, the others shall reach it in place of its InternalIPs.
const AddressAnnotation = "ropeway.io/node-address"

// record is what is kept of a Node object. Of the metadata it has name, UID,
// version and creation time.
type record struct {
	metav1.ObjectMeta
	claim cluster.Claim
	own   *ownRecord // of this node alone
}

// ownRecord is what the daemon writes to its own node, as it is there.
type ownRecord struct {
	annotation string
	condition  condition
}

// strip makes records of Node objects as they arrive. It may be called with
// its own result.
func (a *API) strip(object any) (any, error) {
	node, ok := object.(*corev1.Node)
	if !ok {
		return object, nil
	}
	return a.record(node), nil
}

func (a *API) record(node *corev1.Node) *record {
	r := &record{ObjectMeta: metav1.ObjectMeta{
		Name: node.Name, UID: node.UID, ResourceVersion: node.ResourceVersion, CreationTimestamp: node.CreationTimestamp,
	}}
	podCIDRs := node.Spec.PodCIDRs
	if len(podCIDRs) == 0 && node.Spec.PodCIDR != "" {
		podCIDRs = []string{node.Spec.PodCIDR}
	}
	r.claim = cluster.Describe(node.Name, node.CreationTimestamp.Time, internalIPs(node), podCIDRs)
	r.prefer(node.Annotations[AddressAnnotation])
	if len(r.claim.Addresses) == 0 {
		r.claim.Problems = append(r.claim.Problems, noAddress(node))
	}
	if node.Name == a.cfg.Node {
		r.own = &ownRecord{annotation: node.Annotations[AddressAnnotation], condition: conditionOf(node)}
		if len(r.claim.PodCIDRs) == 0 {
			r.claim.Problems = append(r.claim.Problems, noPodCIDR)
		}
	}
	return r
}

// noPodCIDR is this node's problem alone: the others have no use for it yet.
const noPodCIDR = "spec.podCIDRs of its Node object is empty; let kube-controller-manager assign them (--allocate-node-cidrs=true --cluster-cidr=..., with kubeadm networking.podSubnet)"

func internalIPs(node *corev1.Node) []string {
	var out []string
	for _, a := range node.Status.Addresses {
		if a.Type == corev1.NodeInternalIP {
			out = append(out, a.Address)
		}
	}
	return out
}

// noAddress says why a node cannot be reached. An ExternalIP is no way out by
// itself: behind address translation no interface of the node holds it, and
// tunnels would leave the private network without anybody's decision.
func noAddress(node *corev1.Node) string {
	for _, a := range node.Status.Addresses {
		if a.Type == corev1.NodeExternalIP {
			return fmt.Sprintf("status.addresses of its Node object holds no usable InternalIP, and ExternalIP %.100q is not used unless asked for; set --node-ip of its kubelet, or nodeAddress in its configuration of Ropeway", a.Address)
		}
	}
	return "status.addresses of its Node object holds no usable InternalIP; set --node-ip of its kubelet, or nodeAddress in its configuration of Ropeway"
}

// mostAnnotation bounds what is read: two addresses fit several times.
const mostAnnotation = 256

// prefer takes the addresses of the annotation, if they are all good.
func (r *record) prefer(annotation string) {
	if annotation == "" {
		return
	}
	object := func(cause string) {
		r.claim.Problems = append(r.claim.Problems, fmt.Sprintf("annotation %s is ignored: %s; correct or remove it", AddressAnnotation, cause))
	}
	if len(annotation) > mostAnnotation {
		object(fmt.Sprintf("it is longer than %d bytes", mostAnnotation))
		return
	}
	texts := strings.Split(annotation, ",")
	for n := range texts {
		texts[n] = strings.TrimSpace(texts[n])
	}
	said := cluster.Describe(r.Name, r.claim.Since, texts, nil)
	switch {
	case len(said.Problems) > 0:
		object(said.Problems[0])
	case len(said.Addresses) != len(texts):
		object("it has several addresses of one family")
	default:
		r.claim.Addresses = said.Addresses
	}
}

// sameClaim says whether a change of the object changes anything for the paths.
func sameClaim(x, y *record) bool {
	return x.claim.Since.Equal(y.claim.Since) && cluster.Equal([]cluster.Node{x.claim.Node}, []cluster.Node{y.claim.Node})
}

// nodesOf settles who has what. Nodes that have no pod CIDR yet are left out:
// they are new, or say by themselves what is wrong.
func (a *API) nodesOf(records []any) ([]cluster.Node, []cluster.Conflict) {
	claims := make([]cluster.Claim, 0, len(records))
	for _, object := range records {
		r, ok := object.(*record)
		if !ok || r.Name != a.cfg.Node && len(r.claim.PodCIDRs) == 0 {
			continue
		}
		claims = append(claims, r.claim)
	}
	nodes, conflicts := cluster.Settle(claims)
	return slices.Clip(nodes), conflicts
}
