//go:build kube

package scenarios

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/ropeway-net/ropeway/integration/kube"
)

func podsTalk(w world) {
	pods := w.startPods("talk", w.c.Options.Subnet1[0], w.c.Options.Subnet1[1], w.c.Options.Subnet2[0])
	w.apply(`
apiVersion: v1
kind: Service
metadata: {name: talk}
spec:
  selector: {app: talk-n3}
  ipFamilyPolicy: RequireDualStack
  ports: [{port: 80, targetPort: 8080}]
`)
	w.reach(pods)
	for _, address := range strings.Fields(w.kubectl("get", "service", "talk", "-o", "jsonpath={.spec.clusterIPs[*]}")) {
		if strings.Contains(address, ":") {
			address = "[" + address + "]"
		}
		if got := w.fetch("talk-n1", "http://"+address+"/hostname"); got != "talk-n3" {
			w.Errorf("service %s was answered by %q", address, got)
		}
	}
	for _, name := range []string{"talk", "talk.default.svc.cluster.local"} {
		if got := w.fetch("talk-n2", "http://"+name+"/hostname"); got != "talk-n3" {
			w.Errorf("name %s was answered by %q", name, got)
		}
	}
}

func manifestsAreAccepted(w world) {
	manifests, err := filepath.Glob(filepath.Join(projectRoot(w.T), "manifests", "*.yaml"))
	w.must(err)
	if len(manifests) < 6 {
		w.Fatalf("found %d manifests", len(manifests))
	}
	// What a dry run makes does not stay, so a namespace that a manifest begins
	// with must be there before the rest can be judged.
	w.apply(`{apiVersion: v1, kind: Namespace, metadata: {name: ropeway-cleanup}}`)
	for _, path := range manifests {
		w.kubectl("apply", "--dry-run=server", "-f", path)
	}
}

// rollingRestart exchanges the daemon on all nodes, by a restart and by an
// upgrade and downgrade of the image, while numbered packets travel.
func rollingRestart(w world) {
	pods := w.startPods("roll", "n1", "n2", "n3")
	stop := w.streams(pods, "n1", "n2", "n3")
	w.kubectl("-n", "ropeway", "rollout", "restart", "daemonset/ropeway")
	w.kubectl("-n", "ropeway", "rollout", "status", "daemonset/ropeway", "--timeout=120s")

	now := w.kubectl("-n", "ropeway", "get", "daemonset/ropeway", "-o", "jsonpath={.spec.template.spec.containers[0].image}")
	next := now + "-next"
	for _, n := range w.c.Nodes {
		w.must(n.TagImage(w.Context(), now, next))
	}
	for _, image := range []string{next, now} {
		w.kubectl("-n", "ropeway", "set", "image", "daemonset/ropeway", "*="+image)
		w.kubectl("-n", "ropeway", "rollout", "status", "daemonset/ropeway", "--timeout=120s")
	}
	stop()
}

func deletedByForce(w world) {
	pods := w.startPods("force", "n2", "n3")
	for _, p := range pods {
		w.kubectl("delete", "pod", p.Name, "--force", "--grace-period=0")
	}
	w.noLeak()
}

// runtimeRestarts kills kubelet and containerd; pods go on, new ones start, and
// what ended meanwhile leaves no address behind.
func runtimeRestarts(w world) {
	pods := w.startPods("stay", "n1", "n2")
	leaving := w.startPods("leave", "n2")
	stop := w.streams(pods, "n1", "n2")
	n2 := w.c.Node("n2")
	w.must(n2.Stop(w.Context(), "kubelet"))
	w.kubectl("delete", "pod", leaving["n2"].Name, "--wait=false")
	w.must(n2.Kill(w.Context(), "containerd"))
	w.must(n2.Start("kubelet"))
	w.must(n2.Kill(w.Context(), "containerd"))
	w.reach(w.startPods("fresh", "n1", "n2"))
	stop()
	w.noLeak()
}

// manyPods fills a node to Kubernetes' customary limit at once.
func manyPods(w world) {
	const name = "many"
	replicas := 110 - w.podsOn("n3")
	start := time.Now()
	w.apply(kube.Deployment(name, "n3", replicas))
	w.until("all pods run", func(ctx context.Context) error {
		pods, err := w.c.Pods(ctx, "default", "-l", "app="+name)
		if err != nil {
			return err
		}
		running := 0
		for _, p := range pods {
			if p.Ready {
				running++
			}
		}
		if running != replicas {
			return fmt.Errorf("%d of %d run", running, replicas)
		}
		return nil
	})
	w.Logf("%d pods on one node ready after %s", replicas, time.Since(start).Round(time.Second/10))
	w.kubectl("delete", "deployment", name)
	w.noLeak()
}

// podsOn counts the pods of a node.
func (w world) podsOn(node string) int {
	pods, err := w.c.Pods(w.Context(), "")
	w.must(err)
	count := 0
	for _, p := range pods {
		if p.Node == node {
			count++
		}
	}
	return count
}

// streams sends numbered packets both ways between the first of the nodes' pods
// and each other, in both families. What it returns ends the test unless all
// arrived.
func (w world) streams(pods map[string]kube.PodInfo, nodes ...string) (stop func()) {
	w.Helper()
	var stops []func()
	for _, other := range nodes[1:] {
		for _, pair := range [][2]string{{nodes[0], other}, {other, nodes[0]}} {
			for _, a := range pods[pair[1]].Addresses {
				stops = append(stops, w.stream(pods[pair[0]], pods[pair[1]], a))
			}
		}
	}
	return func() {
		w.Helper()
		for _, end := range stops {
			end()
		}
	}
}

// apiServerAway stops the API server for two minutes. Meanwhile pods talk, one
// starts and one stops (static ones, of which kubelet alone decides), and a
// daemon is killed.
func apiServerAway(w world) {
	pods := w.startPods("away", "n1", "n2", "n3")
	stop := w.streams(pods, "n1", "n2", "n3")
	n3 := w.c.Node("n3")
	before, err := n3.Reservations()
	w.must(err)
	w.must(w.c.Control.Stop(w.Context(), "kube-apiserver"))
	back := time.NewTimer(2 * time.Minute)
	started := false
	w.Cleanup(func() {
		if !started {
			_ = w.c.Control.Start("kube-apiserver")
		}
	})

	w.must(n3.WriteStaticPod(w.Context(), pod("static", "n3")))
	w.until("a pod starts without API server", func(ctx context.Context) error {
		ns, err := n3.PodNamespace("default", "static-n3")
		if err != nil {
			return err
		}
		defer ns.Release()
		_, err = ns.Exec(ctx, "ping", "-c", "1", "-W", "1", pods["n1"].Addresses[0].String())
		return err
	})
	w.must(n3.KillProcess(w.Context(), "ropewayd"))
	w.must(n3.RemoveStaticPod(w.Context()))
	w.until("a pod stops without API server", func(context.Context) error {
		now, err := n3.Reservations()
		if err == nil && len(now) != len(before) {
			err = fmt.Errorf("%d addresses are held, %d were", len(now), len(before))
		}
		return err
	})
	w.until("the daemon runs again without API server", func(ctx context.Context) error {
		out, err := n3.Exec(ctx, "curl", "-sS", "--max-time", "2", "http://127.0.0.1:9114/readyz")
		if err == nil && !strings.Contains(out, "ok") {
			err = errors.New(out)
		}
		return err
	})
	select {
	case <-back.C:
	case <-w.Context().Done():
	}
	w.must(w.c.Control.Start("kube-apiserver"))
	started = true
	w.must(w.c.WaitAPI(w.Context()))
	w.reach(w.startPods("after", "n1", "n3"))
	stop()
	w.until("all nodes are ready", func(ctx context.Context) error {
		for _, n := range w.c.Nodes {
			out, err := w.c.Kubectl(ctx, "get", "node", n.Name, "-o", `jsonpath={.status.conditions[?(@.type=="Ready")].status}`)
			if err == nil && out != "True" {
				err = errors.New("node " + n.Name + " has Ready=" + strconv.Quote(out))
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	w.noLeak()
}
