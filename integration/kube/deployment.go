package kube

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Deployment is the manifest of many small pods on one node.
func Deployment(name, node string, replicas int) string {
	return fmt.Sprintf(`
apiVersion: apps/v1
kind: Deployment
metadata: {name: %[1]s}
spec:
  replicas: %[3]d
  selector: {matchLabels: {app: %[1]s}}
  template:
    metadata: {labels: {app: %[1]s}}
    spec:
      nodeName: %[2]s
      terminationGracePeriodSeconds: 0
      containers: [{name: pause, image: "%[4]s", imagePullPolicy: Never}]
`, name, node, replicas, pauseImage)
}

// TagImage gives an image on the node one more name.
func (n *Node) TagImage(ctx context.Context, name, further string) error {
	_, err := n.Exec(ctx, filepath.Join(n.cluster.build, "bin", "ctr"), "-n", "k8s.io", "images", "tag", "--force", name, further)
	return err
}

// staticPods is where kubelet looks for pods that no API server knows of.
const staticPods = "/etc/kubernetes/manifests"

// WriteStaticPod has kubelet run a pod.
func (n *Node) WriteStaticPod(ctx context.Context, manifest string) error {
	_, err := n.ExecInput(ctx, manifest, "sh", "-c", "mkdir -p "+staticPods+" && cat >"+staticPods+"/.new && mv "+staticPods+"/.new "+staticPods+"/pod.yaml")
	return err
}

// RemoveStaticPod ends it.
func (n *Node) RemoveStaticPod(ctx context.Context) error {
	_, err := n.Exec(ctx, "rm", "-f", staticPods+"/pod.yaml")
	return err
}

// KillProcess kills every process of the node's machine that runs a program of
// that name, in whatever container, and fails when there is none.
func (n *Node) KillProcess(ctx context.Context, program string) error {
	out, err := n.Exec(ctx, "pgrep", "-x", program)
	if err != nil {
		return fmt.Errorf("node %s: no process %s: %w", n.Name, program, err)
	}
	_, err = n.Exec(ctx, append([]string{"kill", "-KILL"}, strings.Fields(out)...)...)
	return err
}

// WriteFile writes a file as somebody on the node would.
func (n *Node) WriteFile(ctx context.Context, path, content string) error {
	_, err := n.ExecInput(ctx, content, "sh", "-c", `mkdir -p "$(dirname "$0")" && cat >"$0"`, path)
	return err
}

// Exists says whether a file that was written on the node is there.
func (n *Node) Exists(path string) bool {
	_, err := os.Lstat(n.path(path))
	return err == nil
}
