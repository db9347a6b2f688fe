//go:build kube

// Package scenarios holds what must be true of Ropeway in a real Kubernetes.
// All share one cluster, in this order; `make kube-test` runs them.
package scenarios

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ropeway-net/ropeway/integration/kube"
	"github.com/ropeway-net/ropeway/integration/lab"
)

func TestMain(m *testing.M) {
	kube.BecomeMachine()
	os.Exit(m.Run())
}

// patience bounds the wait for what must come true on a busy machine.
const patience = 2 * time.Minute

// image is a server and a shell with network tools.
const image = "registry.k8s.io/e2e-test-images/agnhost:2.66.1"

// world is the cluster and the test that uses it.
type world struct {
	*testing.T
	c *kube.Cluster
}

// TestScenarios makes the cluster and runs every scenario in it.
func TestScenarios(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("a cluster is made of namespaces; run as root")
	}
	root := projectRoot(t)
	before, err := lab.SnapshotMachine()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		left, failure := lab.Leftovers(ctx, before)
		if failure != nil || len(left) > 0 {
			t.Errorf("left behind: %v %v", left, failure)
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	c, err := kube.Up(ctx, root, kube.Options{}, os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Down(context.Background()); err != nil {
			t.Error(err)
		}
	})
	for _, s := range []struct {
		name string
		run  func(world)
	}{
		{"PodsTalkByAddressServiceAndName", podsTalk},
		{"APIServerAcceptsEveryManifest", manifestsAreAccepted},
		{"NewNodesAreRoutedAtOnce", nodesAreRouted},
		{"BadNodesHurtNobodyElse", badNodes},
		{"BadConfigurationIsToldAndIgnored", badConfiguration},
		{"MissingPermissionIsNamed", missingPermission},
		{"AnotherNetworksConfigurationIsToldOf", foreignConfiguration},
		{"DaemonSetRestartsAndUpgradesUnderTraffic", rollingRestart},
		{"PodDeletedByForceLeavesNothing", deletedByForce},
		{"KubeletAndContainerdRestart", runtimeRestarts},
		{"ManyPodsAtOnce", manyPods},
		{"APIServerAway", apiServerAway},
		{"NodeRebooted", nodeRebooted},
		{"NodeRejoinsWithAnotherCIDR", nodeRejoins},
		{"DeletedAndCleanedUpWithoutATrace", cleanedUp},
	} {
		ok := t.Run(s.name, func(t *testing.T) {
			w := world{t, c}
			t.Cleanup(func() {
				if t.Failed() {
					t.Log(c.Diagnose(errors.New("the cluster then")))
				}
			})
			s.run(w)
		})
		if !ok && t.Context().Err() != nil {
			return
		}
	}
}

func projectRoot(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../../..")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// must ends the test on an error.
func (w world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// until waits for check to return nil.
func (w world) until(what string, check func(ctx context.Context) error) {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.Context(), patience)
	defer cancel()
	for {
		err := check(ctx)
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			w.Fatalf("%s: %v", what, err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// kubectl runs it and ends the test when it fails. It works in Cleanup too.
func (w world) kubectl(args ...string) string {
	w.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(w.Context()), patience)
	defer cancel()
	out, err := w.c.Kubectl(ctx, args...)
	w.must(err)
	return strings.TrimSpace(out)
}

// apply makes objects and removes them when the scenario ends.
func (w world) apply(manifest string) {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.Context(), patience)
	defer cancel()
	_, err := w.c.Apply(ctx, manifest, "apply", "-f", "-")
	w.must(err)
	w.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if _, err := w.c.Apply(ctx, manifest, "delete", "--ignore-not-found", "--grace-period=1", "-f", "-"); err != nil {
			w.Error(err)
		}
	})
}

// pod is the manifest of a pod that serves HTTP on port 8080.
func pod(name, node string) string {
	return fmt.Sprintf(`
apiVersion: v1
kind: Pod
metadata: {name: %[1]s, labels: {app: %[1]s}}
spec:
  nodeName: %[2]s
  terminationGracePeriodSeconds: 1
  tolerations: [{operator: Exists}]
  containers: [{name: server, image: "%[3]s", imagePullPolicy: Never, args: [netexec]}]
---
`, name, node, image)
}

// startPods makes a pod per node, named by prefix and node, and waits for them.
func (w world) startPods(prefix string, nodes ...string) map[string]kube.PodInfo {
	w.Helper()
	manifest := ""
	for _, n := range nodes {
		manifest += pod(prefix+"-"+n, n)
	}
	w.apply(manifest)
	return w.ready(prefix, nodes...)
}

// ready waits for the pods of startPods.
func (w world) ready(prefix string, nodes ...string) map[string]kube.PodInfo {
	w.Helper()
	found := map[string]kube.PodInfo{}
	w.until("pods "+prefix+" become ready", func(ctx context.Context) error {
		pods, err := w.c.Pods(ctx, "default")
		if err != nil {
			return err
		}
		clear(found)
		for _, p := range pods {
			for _, n := range nodes {
				if p.Name == prefix+"-"+n && p.Ready && !p.Deleted {
					found[n] = p
				}
			}
		}
		if len(found) != len(nodes) {
			return fmt.Errorf("%d of %d are ready", len(found), len(nodes))
		}
		return nil
	})
	return found
}

// fetch gets a path from a pod's server, from inside another pod, until it is
// answered.
func (w world) fetch(from, url string) string {
	w.Helper()
	answer := ""
	w.until(from+" fetches "+url, func(ctx context.Context) (err error) {
		answer, err = w.c.Kubectl(ctx, "exec", from, "--", "curl", "-sS", "-g", "--fail", "--max-time", "3", url)
		return err
	})
	return strings.TrimSpace(answer)
}

// hostPort writes an address for a URL.
func hostPort(a netip.Addr, port uint16) string { return netip.AddrPortFrom(a, port).String() }

// reach has every pod of one set fetch from every other, by each address.
func (w world) reach(pods map[string]kube.PodInfo) {
	w.Helper()
	for _, from := range pods {
		for _, to := range pods {
			if from.Name == to.Name {
				continue
			}
			for _, a := range to.Addresses {
				if got := w.fetch(from.Name, "http://"+hostPort(a, 8080)+"/hostname"); got != to.Name {
					w.Errorf("%s asked %s at %s and was answered by %q", from.Name, to.Name, a, got)
				}
			}
		}
	}
}

// noLeak waits until each node's reservations and endpoint records are those of
// its living pods and no pod is stuck terminating.
func (w world) noLeak() {
	w.Helper()
	w.until("addresses are those of living pods", func(ctx context.Context) error {
		pods, err := w.c.Pods(ctx, "")
		if err != nil {
			return err
		}
		for _, n := range w.c.Nodes {
			if err := leaked(n, pods); err != nil {
				return err
			}
		}
		return nil
	})
}

func leaked(n *kube.Node, pods []kube.PodInfo) error {
	var living []netip.Addr
	count := 0
	for _, p := range pods {
		if p.Node != n.Name || !p.Network {
			continue
		}
		if p.Deleted {
			return fmt.Errorf("pod %s/%s is terminating", p.Namespace, p.Name)
		}
		living = append(living, p.Addresses...)
		count++
	}
	held, err := n.Reservations()
	if err != nil {
		return err
	}
	slices.SortFunc(living, netip.Addr.Compare)
	slices.SortFunc(held, netip.Addr.Compare)
	if !slices.Equal(living, held) {
		return fmt.Errorf("node %s: pods have %v, reserved are %v", n.Name, living, held)
	}
	records, err := n.Endpoints()
	if err != nil {
		return err
	}
	if len(records) != count {
		return fmt.Errorf("node %s: %d pods, %d endpoint records", n.Name, count, len(records))
	}
	return nil
}

// event waits for an event with a reason about a node whose message has a part.
func (w world) event(reason, node, part string) {
	w.Helper()
	w.until("event "+reason+" about "+node, func(ctx context.Context) error {
		out, err := w.c.Kubectl(ctx, "get", "events", "-A", "-o",
			`jsonpath={range .items[*]}{.reason}{" "}{.involvedObject.name}{" "}{.message}{"\n"}{end}`)
		if err != nil {
			return err
		}
		for line := range strings.Lines(out) {
			if strings.HasPrefix(line, reason+" "+node+" ") && strings.Contains(line, part) {
				return nil
			}
		}
		return errors.New("there is none")
	})
}
