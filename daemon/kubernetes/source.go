package kubernetes

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	"github.com/ropeway-net/ropeway/daemon/cluster"
)

// Run implements [cluster.Source], and writes what the daemon has to say. A
// client lives until the files change that it was made from.
func (a *API) Run(ctx context.Context, publish func([]cluster.Node), report func(error)) error {
	ctx = klog.NewContext(ctx, logr.FromSlogHandler(quiet{a.cfg.Log.Handler()}))
	complaints := &complaints{report: report}
	var last []cluster.Node
	publishNew := func(nodes []cluster.Node) {
		if last == nil || !cluster.Equal(last, nodes) {
			last = nodes
			publish(nodes)
		}
	}
	for ctx.Err() == nil {
		c, err := a.open()
		complaints.set(aboutFiles, err)
		if err != nil {
			pause(ctx, a.look)
			continue
		}
		a.live(ctx, c, complaints, publishNew)
		c.close()
	}
	return nil
}

// Load reads the nodes once.
func (a *API) Load(ctx context.Context) ([]cluster.Node, error) {
	c, err := a.open()
	if err != nil {
		return nil, err
	}
	defer c.close()
	var list corev1.NodeList
	// Version 0 means: from the server's memory.
	err = c.rest.Get().Resource("nodes").VersionedParams(&metav1.ListOptions{ResourceVersion: "0"}, metav1.ParameterCodec).Do(ctx).Into(&list)
	if err != nil {
		return nil, c.explain(request{verb: "list", resource: "nodes"}, err)
	}
	records := make([]any, 0, len(list.Items))
	for n := range list.Items {
		records = append(records, a.record(&list.Items[n]))
	}
	nodes, _ := a.nodesOf(records)
	return nodes, nil
}

// open makes a client of the files as they are now.
func (a *API) open() (*client, error) {
	credentials, err := readCredentials(a.cfg.Kubeconfig)
	if err != nil {
		return nil, err
	}
	return connect(credentials, a.cfg.UserAgent)
}

// live is the time with one client.
func (a *API) live(ctx context.Context, c *client, complaints *complaints, publish func([]cluster.Node)) {
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()

	informer := cache.NewSharedIndexInformer(a.listWatch(c, complaints), &corev1.Node{}, 0, nil)
	if err := informer.SetTransform(a.strip); err != nil {
		complaints.set(aboutFiles, fmt.Errorf("read nodes: %w", err))
		return
	}
	registration, err := informer.AddEventHandler(a.handler())
	if err != nil {
		complaints.set(aboutFiles, fmt.Errorf("read nodes: %w", err))
		return
	}
	running.Go(func() { informer.RunWithContext(ctx) })
	running.Go(func() { a.writeOwn(ctx, c) })
	running.Go(func() { a.writeEvents(ctx, c) })

	look := time.NewTicker(a.look)
	defer look.Stop()
	settled := time.NewTimer(0)
	settled.Stop()
	defer settled.Stop()
	synced := registration.HasSyncedChecker().Done()
	known, due := false, false
	var told noticed
	var again <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-synced:
			synced, known = nil, true
			settled.Reset(0)
		case <-a.changed:
			if known && !due { // not again: changes without end must not hold up the list
				due = true
				settled.Reset(a.settle)
			}
		case <-settled.C:
			due = false
			nodes, conflicts := a.nodesOf(informer.GetStore().List())
			publish(nodes)
			again = nil
			if wait := told.nodes(a.cfg.Node, nodes, conflicts, time.Now(), a.grace, a.Notify); wait > 0 {
				again = time.After(wait)
			}
		case <-again:
			settled.Reset(0)
		case <-look.C:
			if a.replaced(c, complaints) {
				return
			}
		}
	}
}

// replaced says whether the files have other contents than when the client was
// made. While they cannot be used, the client stays.
func (a *API) replaced(c *client, complaints *complaints) bool {
	now, err := readCredentials(a.cfg.Kubeconfig)
	if err != nil {
		complaints.set(aboutFiles, fmt.Errorf("%w (what was read from it before stays in use)", err))
		return false
	}
	complaints.set(aboutFiles, nil)
	return string(now.from) != string(c.made)
}

// handler reports changes that concern the paths, and keeps what the API
// server holds about this node.
func (a *API) handler() cache.ResourceEventHandler {
	return cache.ResourceEventHandlerFuncs{
		AddFunc: func(object any) {
			if r, ok := object.(*record); ok {
				a.own.see(r)
				a.nodesChanged()
			}
		},
		UpdateFunc: func(before, after any) {
			x, xok := before.(*record)
			y, yok := after.(*record)
			if !xok || !yok {
				return
			}
			a.own.see(y)
			if !sameClaim(x, y) {
				a.nodesChanged()
			}
		},
		DeleteFunc: func(object any) {
			if gone, missed := object.(cache.DeletedFinalStateUnknown); missed {
				object = gone.Obj
			}
			if r, ok := object.(*record); ok {
				a.own.lose(r)
				a.nodesChanged()
			}
		},
	}
}

// pause waits, and not longer than ctx lasts.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
