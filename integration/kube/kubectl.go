package kube

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Kubectl runs kubectl as the administrator, in the network of the control
// plane, and returns what it wrote to stdout.
func (c *Cluster) Kubectl(ctx context.Context, args ...string) (string, error) {
	return c.Apply(ctx, "", args...)
}

// Apply is Kubectl with text on stdin.
func (c *Cluster) Apply(ctx context.Context, input string, args ...string) (string, error) {
	command := append([]string{filepath.Join(c.build, "bin", "kubectl"), "--kubeconfig=" + c.AdminConfig(), "--cache-dir=" + filepath.Join(c.dir, "kubectl")}, args...)
	return c.Control.Network.ExecInput(ctx, input, command...)
}

// AdminConfig is the administrator's kubeconfig, good in the network of the
// control plane and of every node.
func (c *Cluster) AdminConfig() string { return c.pki().Kubeconfig("admin") }

// settle waits for what a cluster needs to be of use.
func (c *Cluster) settle(ctx context.Context) error {
	var waits [][]string
	for _, n := range c.Options.nodes() {
		waits = append(waits, []string{"wait", "--for=condition=Ready", "node/" + n, "--timeout=90s"})
	}
	waits = append(waits, []string{"-n", "kube-system", "rollout", "status", "deployment/coredns", "--timeout=90s"})
	for _, args := range waits {
		if _, err := c.Kubectl(ctx, args...); err != nil {
			return err
		}
	}
	return nil
}

// diagnosis is what somebody wants to see when a cluster does not come up.
func (c *Cluster) diagnosis() string {
	ctx, cancel := context.WithTimeout(context.Background(), diagnosisTimeout)
	defer cancel()
	var text strings.Builder
	for _, args := range [][]string{
		{"get", "nodes", "-o", "wide"},
		{"get", "pods", "-A", "-o", "wide"},
		{"get", "events", "-A", "--sort-by=.metadata.creationTimestamp"},
	} {
		out, err := c.Kubectl(ctx, append(args, "--request-timeout=5s")...)
		if err != nil {
			out += firstLine(err)
		}
		fmt.Fprintf(&text, "--- kubectl %s\n%s\n", strings.Join(args, " "), lastLines(out, 25))
	}
	for _, pods := range [][]string{
		{"-n", "ropeway", "-l", "app.kubernetes.io/name=ropeway"},
		{"-n", "kube-system", "-l", "k8s-app=kube-dns"},
	} {
		args := append([]string{"logs", "--all-containers", "--prefix", "--tail=8", "--request-timeout=5s"}, pods...)
		if out, err := c.Kubectl(ctx, args...); err == nil && out != "" {
			fmt.Fprintf(&text, "--- kubectl %s\n%s\n", strings.Join(args, " "), out)
		}
	}
	for _, m := range c.machines() {
		logs, _ := filepath.Glob(filepath.Join(m.layout.services(), "*.log"))
		for _, path := range logs {
			b, err := os.ReadFile(path)
			if err == nil && len(b) > 0 {
				fmt.Fprintf(&text, "--- %s on %s\n%s\n", filepath.Base(path), m.Name, lastLines(string(b), 8))
			}
		}
	}
	return text.String()
}

func lastLines(text string, count int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-count):], "\n")
}

func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}

// Diagnose adds the state of the cluster to an error.
func (c *Cluster) Diagnose(err error) error {
	if err == nil {
		return nil
	}
	return errors.Join(err, errors.New(c.diagnosis()))
}
