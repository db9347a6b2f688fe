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

	// Of this node alone: the claim is without the annotation, preferred with.
	own       *ownRecord
	preferred cluster.Claim
}

// ownRecord is what the daemon writes to its own node, as it is there.
type ownRecord struct {
	annotation string
	condition  condition
}

// ownClaim returns what this node claims. The annotation counts when it is
// what the daemon says now: it may be from an earlier configuration.
func (a *API) ownClaim(r *record) cluster.Claim {
	if a.own.announces(r.own.annotation) {
		return r.preferred
	}
	return r.claim
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
	annotation := node.Annotations[AddressAnnotation]
	described := cluster.Describe(node.Name, node.CreationTimestamp.Time, internalIPs(node), podCIDRs)
	if node.Name == a.cfg.Node && len(described.PodCIDRs) == 0 {
		described.Problems = append(described.Problems, noPodCIDR)
	}
	r.claim = prefer(described, annotation)
	if node.Name == a.cfg.Node {
		r.own = &ownRecord{annotation: annotation, condition: conditionOf(node)}
		r.claim, r.preferred = described, r.claim
	}
	for _, c := range []*cluster.Claim{&r.claim, &r.preferred} {
		if len(c.Addresses) == 0 {
			c.Problems = append(slices.Clip(c.Problems), noAddress(node))
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
func prefer(c cluster.Claim, annotation string) cluster.Claim {
	if annotation == "" {
		return c
	}
	object := func(cause string) cluster.Claim {
		c.Problems = append(slices.Clip(c.Problems), fmt.Sprintf("annotation %s is ignored: %s; correct or remove it", AddressAnnotation, cause))
		return c
	}
	if len(annotation) > mostAnnotation {
		return object(fmt.Sprintf("it is longer than %d bytes", mostAnnotation))
	}
	texts := strings.Split(annotation, ",")
	for n := range texts {
		texts[n] = strings.TrimSpace(texts[n])
	}
	said := cluster.Describe(c.Name, c.Since, texts, nil)
	switch {
	case len(said.Problems) > 0:
		return object(said.Problems[0])
	case len(said.Addresses) != len(texts):
		return object("it has several addresses of one family")
	}
	c.Addresses = said.Addresses
	return c
}

// sameClaim says whether a change of the object changes anything for the paths.
func sameClaim(x, y *record) bool {
	return x.claim.Since.Equal(y.claim.Since) &&
		cluster.Equal([]cluster.Node{x.claim.Node, x.preferred.Node}, []cluster.Node{y.claim.Node, y.preferred.Node})
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
		if r.own != nil {
			claims = append(claims, a.ownClaim(r))
			continue
		}
		claims = append(claims, r.claim)
	}
	nodes, conflicts := cluster.Settle(claims)
	return slices.Clip(nodes), conflicts
}
