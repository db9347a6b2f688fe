//go:build kube

package scenarios

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
)

// readyz asks the daemon on a node.
func (w world) readyz(node string) error {
	_, err := w.c.Node(node).Exec(w.Context(), "curl", "-sS", "--fail", "--max-time", "2", "http://127.0.0.1:9114/readyz")
	return err
}

// badConfiguration breaks the ConfigMap: the daemons go on with what they have
// and say so.
func badConfiguration(w world) {
	good := w.kubectl("-n", "ropeway", "get", "configmap/ropeway", "-o", `jsonpath={.data.ropewayd\.yaml}`)
	set := func(text string) {
		patch, err := json.Marshal(map[string]any{"data": map[string]string{"ropewayd.yaml": text}})
		w.must(err)
		w.kubectl("-n", "ropeway", "patch", "configmap/ropeway", "--type=merge", "-p", string(patch))
		// kubelet looks at ConfigMaps about once a minute, or when a pod changes.
		for _, n := range w.c.Nodes {
			w.kubectl("-n", "ropeway", "annotate", "pods", "--overwrite", "--field-selector=spec.nodeName="+n.Name, "-l", "app.kubernetes.io/name=ropeway", "test/configured="+fmt.Sprint(len(text)))
		}
	}
	w.Cleanup(func() { set(good) })
	set(good + "\nno-such-key: 1\n")
	for _, n := range w.c.Nodes {
		w.event("ConfigRejected", n.Name, "no-such-key")
		w.must(w.readyz(n.Name))
	}
	w.reach(w.startPods("config", "n1", "n3"))
}

// missingPermission takes the daemons' right to read nodes away. They say which
// rule is missing, also after a restart, and pods go on.
func missingPermission(w world) {
	pods := w.startPods("rbac", "n1", "n2", "n3")
	stop := w.streams(pods, "n1", "n2", "n3")
	role := w.kubectl("get", "clusterrole", "ropeway", "-o", "yaml")
	w.Cleanup(func() {
		_, err := w.c.Apply(context.Background(), role, "replace", "--force", "-f", "-")
		if err != nil {
			w.Error(err)
		}
	})
	w.kubectl("patch", "clusterrole", "ropeway", "--type=json", "-p", `[{"op":"replace","path":"/rules","value":[]}]`)
	w.must(w.c.Node("n2").KillProcess(w.Context(), "ropewayd"))
	w.until("the daemon names the rule", func(ctx context.Context) error {
		out, err := w.c.Node("n2").Exec(ctx, "cat", "/var/lib/cni/ropeway/log/ropewayd.log")
		if err != nil {
			return err
		}
		for _, word := range []string{"nodes", "list", "system:serviceaccount:ropeway:ropeway"} {
			if !strings.Contains(out, word) {
				return fmt.Errorf("its log does not say %q", word)
			}
		}
		return nil
	})
	stop()
	w.until("pods of the restarted daemon's node talk", func(context.Context) error { return w.readyz("n2") })
	w.reach(pods)
}

// foreignConfiguration drops another network's configuration before ours.
func foreignConfiguration(w world) {
	const path = "/etc/cni/net.d/05-other.conflist"
	n2 := w.c.Node("n2")
	w.Cleanup(func() { _, _ = n2.Exec(context.Background(), "rm", "-f", path) })
	w.must(n2.WriteFile(w.Context(), path, `{"cniVersion":"1.0.0","name":"other","plugins":[{"type":"no-such-plugin"}]}`))
	w.event("ForeignCNIConfig", "n2", path)
	_, err := n2.Exec(w.Context(), "rm", path)
	w.must(err)
	w.reach(w.startPods("foreign", "n1", "n2"))
}

// cleanedUp deletes Ropeway as its documentation says and finds nothing left on
// the nodes.
func cleanedUp(w world) {
	manifests := filepath.Join(projectRoot(w.T), "manifests")
	w.kubectl("delete", "-f", w.c.Manifest(), "--timeout=120s")
	for _, n := range w.c.Nodes {
		if links := ownLinks(w, n.Name); len(links) == 0 {
			w.Errorf("node %s: stopping the daemon removed its links", n.Name)
		}
	}
	w.kubectl("apply", "-f", filepath.Join(manifests, "cleanup.yaml"))
	for _, n := range w.c.Nodes {
		w.until("node "+n.Name+" is clean", func(ctx context.Context) error {
			var left []string
			left = append(left, ownLinks(w, n.Name)...)
			for _, path := range []string{"/etc/cni/net.d/10-ropeway.conflist", "/var/lib/cni/ropeway", "/var/lib/cni/networks/ropeway", "/opt/cni/bin/ropeway", "/opt/cni/bin/ropeway-ipam"} {
				if _, err := n.Exec(ctx, "test", "!", "-e", path); err != nil {
					left = append(left, path)
				}
			}
			tables, err := n.Exec(ctx, "nft", "list", "tables")
			if err != nil {
				return err
			}
			if slices.Contains(strings.Split(tables, "\n"), "table inet ropeway") {
				left = append(left, "nftables table inet ropeway")
			}
			routes, err := n.Exec(ctx, "ip", "route", "show", "table", "all", "proto", "114")
			if err != nil {
				return err
			}
			if routes != "" {
				left = append(left, routes)
			}
			if len(left) > 0 {
				return errors.New("there is still " + strings.Join(left, ", "))
			}
			return nil
		})
	}
	w.kubectl("delete", "-f", filepath.Join(manifests, "cleanup.yaml"), "--timeout=120s")
}

// ownLinks are Ropeway's interfaces on a node.
func ownLinks(w world, node string) []string {
	var names []string
	err := w.c.Node(node).Network.Netlink(func(h *netlink.Handle) error {
		links, err := h.LinkList()
		for _, l := range links {
			if strings.HasPrefix(l.Attrs().Name, "ropeway-") || strings.HasPrefix(l.Attrs().Name, "rwp") {
				names = append(names, l.Attrs().Name)
			}
		}
		return err
	})
	w.must(err)
	return names
}
