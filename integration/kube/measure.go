package kube

import (
	"context"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Burst starts many pods on a node at once and returns the time until all are
// ready. They are gone when it returns.
func (c *Cluster) Burst(ctx context.Context, node string, replicas int) (_ time.Duration, err error) {
	const name = "burst"
	manifest := Deployment(name, node, replicas)
	start := time.Now()
	if _, err := c.Apply(ctx, manifest, "apply", "-f", "-"); err != nil {
		return 0, err
	}
	if err := c.waitReplicas(ctx, name, replicas); err != nil {
		return 0, err
	}
	took := time.Since(start)
	if _, err := c.Apply(ctx, manifest, "delete", "-f", "-"); err != nil {
		return 0, err
	}
	return took, until(ctx, func() error {
		pods, err := c.Pods(ctx, "default", "-l", "app="+name)
		if err == nil && len(pods) > 0 {
			err = fmt.Errorf("%d pods are left", len(pods))
		}
		return err
	})
}

// waitReplicas asks for the Deployment's own count, which costs the API server
// less than a list of its pods.
func (c *Cluster) waitReplicas(ctx context.Context, name string, replicas int) error {
	return until(ctx, func() error {
		out, err := c.Kubectl(ctx, "get", "deployment", name, "-o", "jsonpath={.status.readyReplicas}")
		if err == nil && out != strconv.Itoa(replicas) {
			err = fmt.Errorf("%q of %d pods are ready", out, replicas)
		}
		return err
	})
}

// Usage is what a process holds and has used.
type Usage struct {
	Resident int64         // bytes
	CPU      time.Duration // since its start
}

// Usage looks at the only process of a program on the node.
func (n *Node) Usage(ctx context.Context, program string) (Usage, error) {
	out, err := n.Exec(ctx, "pgrep", "-x", program)
	if err != nil {
		return Usage{}, err
	}
	proc := filepath.Join("/proc", strings.TrimSpace(out))
	status, err := n.Exec(ctx, "awk", `$1 == "VmRSS:" {print $2}`, proc+"/status")
	if err != nil {
		return Usage{}, err
	}
	kilobytes, err := strconv.ParseInt(strings.TrimSpace(status), 10, 64)
	if err != nil {
		return Usage{}, fmt.Errorf("memory of %s: %w", program, err)
	}
	ticks, err := n.Exec(ctx, "awk", `{print $14 + $15}`, proc+"/stat")
	if err != nil {
		return Usage{}, err
	}
	// USER_HZ is 100 on every architecture that Kubernetes runs on.
	count, err := strconv.ParseInt(strings.TrimSpace(ticks), 10, 64)
	return Usage{Resident: kilobytes << 10, CPU: time.Duration(count) * 10 * time.Millisecond}, err
}
