//go:build kube

package scenarios

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
)

// nodeObject is a Node without a machine.
func nodeObject(name string, podCIDRs []string, addresses ...string) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}
	n.Spec.PodCIDRs = podCIDRs
	if len(podCIDRs) > 0 {
		n.Spec.PodCIDR = podCIDRs[0]
	}
	n.Spec.Unschedulable = true
	for _, a := range addresses {
		n.Status.Addresses = append(n.Status.Addresses, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: a})
	}
	return n
}

// createNode makes a Node whose status is set by a second request, as a
// kubelet's is, and removes it when the scenario ends.
func (w world) createNode(api kubernetes.Interface, n *corev1.Node) {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.Context(), patience)
	defer cancel()
	made, err := api.CoreV1().Nodes().Create(ctx, n, metav1.CreateOptions{})
	w.must(err)
	w.Cleanup(func() {
		_ = api.CoreV1().Nodes().Delete(context.Background(), n.Name, metav1.DeleteOptions{}) // the scenario may have
	})
	// A patch, since controllers change the object at the same time.
	status, err := json.Marshal(map[string]any{"status": map[string]any{"addresses": n.Status.Addresses}})
	w.must(err)
	_, err = api.CoreV1().Nodes().Patch(ctx, made.Name, types.StrategicMergePatchType, status, metav1.PatchOptions{}, "status")
	w.must(err)
}

// routed says whether a node's kernel has a route of ours to a prefix.
func (w world) routed(node string, prefix netip.Prefix) bool {
	found := false
	err := w.c.Node(node).Network.Netlink(func(h *netlink.Handle) error {
		family := netlink.FAMILY_V4
		if prefix.Addr().Is6() {
			family = netlink.FAMILY_V6
		}
		routes, err := h.RouteListFiltered(family, &netlink.Route{Protocol: 114}, netlink.RT_FILTER_PROTOCOL)
		for _, r := range routes {
			found = found || r.Dst != nil && r.Dst.String() == prefix.String() && r.Type == 1
		}
		return err
	})
	return err == nil && found
}

// nodesAreRouted measures the time between a Node's last fact and the route to
// its pods in the kernel of another.
func nodesAreRouted(w world) {
	api, err := w.c.Client()
	w.must(err)
	var took []time.Duration
	for i := range 20 {
		prefix := netip.MustParsePrefix(fmt.Sprintf("10.250.%d.0/24", i))
		name := fmt.Sprintf("late-%d", i)
		n := nodeObject(name, []string{prefix.String()}, fmt.Sprintf("172.31.2.%d", 100+i))
		w.createNode(api, n)
		start := time.Now()
		w.untilRouted("n2", prefix)
		took = append(took, time.Since(start))
		w.must(api.CoreV1().Nodes().Delete(w.Context(), name, metav1.DeleteOptions{}))
		w.until("the route goes with the node", func(context.Context) error {
			if w.routed("n2", prefix) {
				return errors.New("it is still there")
			}
			return nil
		})
	}
	slices.Sort(took)
	w.Logf("from the Node's addresses to the route in another's kernel: median %s, longest %s", took[len(took)/2].Round(time.Millisecond), took[len(took)-1].Round(time.Millisecond))
}

// untilRouted looks as often as it can.
func (w world) untilRouted(node string, prefix netip.Prefix) {
	w.Helper()
	for end := time.Now().Add(patience); !w.routed(node, prefix); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			w.Fatalf("node %s has no route to %s", node, prefix)
		}
	}
}

// badNodes makes Nodes that say too little or nonsense. A good one among them
// is routed, and the cluster goes on.
func badNodes(w world) {
	api, err := w.c.Client()
	w.must(err)
	pods := w.startPods("bad", "n1", "n2", "n3")
	stop := w.streams(pods, "n1", "n2", "n3")
	taken := strings.Fields(w.kubectl("get", "node", "n3", "-o", "jsonpath={.spec.podCIDRs[*]}"))
	w.createNode(api, nodeObject("bad-no-address", []string{"10.251.1.0/24"}))
	w.createNode(api, nodeObject("bad-taken-cidr", taken, "172.31.2.201"))
	w.createNode(api, nodeObject("bad-ipv6-only", []string{"10.251.2.0/24"}, "fd31:0:0:2::202"))
	w.createNode(api, nodeObject("bad-loopback", []string{"10.251.3.0/24"}, "127.0.0.1"))
	w.createNode(api, nodeObject("bad-taken-address", []string{"10.251.4.0/24"}, "172.31.2.13"))
	w.createNode(api, nodeObject("bad-link-local", []string{"10.251.5.0/24"}, "169.254.7.7"))
	w.createNode(api, nodeObject("good", []string{"10.251.6.0/24"}, "172.31.2.206"))
	w.untilRouted("n1", netip.MustParsePrefix("10.251.6.0/24"))
	w.event("PodCIDRConflict", "n3", "bad-taken-cidr") // by the node that keeps it
	for _, wrong := range []string{"10.251.1.0/24", "10.251.3.0/24", "10.251.5.0/24"} {
		if w.routed("n1", netip.MustParsePrefix(wrong)) {
			w.Errorf("n1 has a route to %s, of a node that cannot be reached", wrong)
		}
	}
	w.reach(pods)
	stop()
}

// nodeRebooted pulls a node's plug under its pods.
func nodeRebooted(w world) {
	pods := w.startPods("boot", "n1", "n2")
	w.must(w.c.Node("n2").Reboot(w.Context()))
	w.until("the node is ready", func(ctx context.Context) error {
		out, err := w.c.Kubectl(ctx, "get", "node", "n2", "-o", `jsonpath={.status.conditions[?(@.type=="Ready")].status}`)
		if err == nil && out != "True" {
			err = errors.New("it is not")
		}
		return err
	})
	// What the API server knows is old at first. The pod is back when it has a
	// namespace of this boot and the addresses that were reserved for it.
	w.until("the pod has a new sandbox", func(ctx context.Context) error {
		ns, err := w.c.Node("n2").PodNamespace("default", "boot-n2")
		if err != nil {
			return err
		}
		ns.Release()
		pods = w.ready("boot", "n1", "n2")
		records, err := w.c.Node("n2").Endpoints()
		if err != nil {
			return err
		}
		for _, r := range records {
			if r.Pod.Name == "boot-n2" && slices.Equal(r.Addresses, pods["n2"].Addresses) {
				return nil
			}
		}
		return fmt.Errorf("no record has %v", pods["n2"].Addresses)
	})
	w.reach(pods)
	w.reach(w.startPods("boot-after", "n2", "n3"))
	w.noLeak()
}

// nodeRejoins deletes a node's object and has it join again, by when its pod
// CIDR has gone to another.
func nodeRejoins(w world) {
	api, err := w.c.Client()
	w.must(err)
	n3 := w.c.Node("n3")
	before := strings.Fields(w.kubectl("get", "node", "n3", "-o", "jsonpath={.spec.podCIDRs[*]}"))
	w.must(n3.Stop(w.Context(), "kubelet"))
	w.kubectl("delete", "node", "n3")
	w.until("its pods are gone", func(ctx context.Context) error {
		pods, err := w.c.Pods(ctx, "", "--field-selector=spec.nodeName=n3")
		if err == nil && len(pods) > 0 {
			err = fmt.Errorf("%d are there", len(pods))
		}
		return err
	})
	w.createNode(api, nodeObject("heir", before, "172.31.1.200"))
	w.must(n3.Start("kubelet"))
	var after []string
	w.until("it has other pod CIDRs", func(ctx context.Context) error {
		out, err := w.c.Kubectl(ctx, "get", "node", "n3", "-o", "jsonpath={.spec.podCIDRs[*]}")
		after = strings.Fields(out)
		if err == nil && (len(after) != 2 || after[0] == before[0]) {
			err = fmt.Errorf("it has %v", after)
		}
		return err
	})
	w.until("the daemon on it is ready", func(ctx context.Context) error {
		_, err := w.c.Kubectl(ctx, "-n", "ropeway", "rollout", "status", "daemonset/ropeway", "--timeout=5s")
		return err
	})
	pods := w.startPods("again", "n1", "n3")
	for _, a := range pods["n3"].Addresses {
		if !netip.MustParsePrefix(after[0]).Contains(a) && !netip.MustParsePrefix(after[1]).Contains(a) {
			w.Errorf("a new pod has %s, which is in neither of %v", a, after)
		}
	}
	w.reach(pods)
	w.noLeak()
}
