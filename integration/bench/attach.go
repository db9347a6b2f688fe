package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

// The steps of a round.
const (
	stepAdd   = "ADD"
	stepCheck = "CHECK"
	stepDel   = "DEL"
	stepGone  = "gone" // from the start of DEL until the link has left the kernel
)

// attacher attaches pods to a node of its own and detaches them again: the
// verbs of one, or those of many at a time.
type attacher struct {
	title   string
	network network
	batch   int // pods a round
	width   int // of them at a time
	ports   bool
	daemon  *daemon // nil: none runs
	state   string  // directory

	before []string // links of the node without pods
	pods   []*namespace
	made   int // attachments so far
}

// prepare makes the namespaces of the pods. They are used again and again,
// since taking them down would disturb whoever is next.
func (a *attacher) prepare() error {
	for range a.batch {
		pod, err := newNamespace()
		if err != nil {
			return err
		}
		a.pods = append(a.pods, pod)
	}
	links, err := a.network.node.links()
	a.before = links
	return err
}

func (a *attacher) round(ctx context.Context) ([]sample, error) {
	var idle time.Duration
	if a.daemon != nil {
		var err error
		if idle, err = a.daemon.cpu(); err != nil {
			return nil, err
		}
	}
	pods := a.attachments()
	added := a.each(ctx, stepAdd, pods, a.network.add)
	samples := []sample{added}
	attached := slices.DeleteFunc(slices.Clone(pods), func(p *attachment) bool { return len(p.result) == 0 })
	if a.batch == 1 && len(attached) > 0 {
		samples = append(samples, a.each(ctx, stepCheck, pods, a.network.check))
	}
	removed, err := a.detach(ctx, pods, attached)
	if err != nil {
		return nil, errors.Join(added.failure, err)
	}
	samples = append(samples, removed...)
	if a.daemon != nil {
		if samples[0].daemon, err = a.daemon.settle(ctx, idle); err != nil {
			return nil, err
		}
	}
	for _, s := range samples {
		// One at a time nothing may fail; of many the failures are counted.
		if s.failed > 0 && a.batch == 1 {
			return nil, s.failure
		}
	}
	return samples, nil
}

func (a *attacher) attachments() []*attachment {
	var list []*attachment
	for i := range a.batch {
		a.made++
		next := &attachment{id: containerID(a.made), pod: a.pods[i]}
		if a.ports {
			next.hostPort = 20000 + a.made%10000
		}
		list = append(list, next)
	}
	return list
}

// detach calls DEL for all, as a runtime does also after a failed ADD, and
// waits until the links of those that were attached have gone.
func (a *attacher) detach(ctx context.Context, all, attached []*attachment) ([]sample, error) {
	var leaving []departure
	for _, p := range attached {
		d, err := watchDeparture(p.pod)
		if err != nil {
			return nil, err
		}
		defer d.close()
		leaving = append(leaving, d)
	}
	start := time.Now()
	removed := a.each(ctx, stepDel, all, a.network.del)
	if removed.failed > 0 && a.batch == 1 {
		return nil, removed.failure
	}
	if err := a.delAgain(ctx, all); err != nil {
		return nil, err
	}
	gone := sample{step: stepGone, wall: removed.wall}
	for _, d := range leaving {
		at, err := d.wait(ctx)
		if err != nil {
			return nil, err
		}
		gone.each = append(gone.each, max(at.Sub(start), removed.least(a.batch)))
		gone.wall = max(gone.wall, at.Sub(start))
	}
	return []sample{removed, gone}, nil
}

// delAgain repeats what failed, as a runtime does until it succeeds.
func (a *attacher) delAgain(ctx context.Context, pods []*attachment) error {
	const tries = 5
	for range tries {
		pods = slices.DeleteFunc(slices.Clone(pods), func(p *attachment) bool { return p.failed == nil })
		for _, p := range pods {
			_, p.failed = a.network.del(ctx, p)
		}
	}
	for _, p := range pods {
		if p.failed != nil {
			return fmt.Errorf("DEL fails again and again: %w", p.failed)
		}
	}
	return nil
}

// each calls a verb for all pods, as many at a time as the attacher is wide.
func (a *attacher) each(ctx context.Context, step string, pods []*attachment, call func(context.Context, *attachment) (spent, error)) sample {
	queue := make(chan *attachment, len(pods))
	for _, p := range pods {
		queue <- p
	}
	close(queue)
	result := sample{step: step}
	var mu sync.Mutex
	var workers sync.WaitGroup
	start := time.Now()
	for range min(a.width, len(pods)) {
		workers.Go(func() {
			for p := range queue {
				var s spent
				s, p.failed = call(ctx, p)
				mu.Lock()
				result.add(s, p.failed)
				mu.Unlock()
			}
		})
	}
	workers.Wait()
	result.wall = time.Since(start)
	return result
}

// close takes everything down. A link that is left on the node means that DEL
// did not do its work, and that its time is worth nothing.
func (a *attacher) close() error {
	left, err := a.network.node.links()
	left = slices.DeleteFunc(left, func(l string) bool { return slices.Contains(a.before, l) || l == bridgeLink })
	if len(left) > 0 {
		err = fmt.Errorf("%s left %d links on its node after DEL: %s", a.title, len(left), strings.Join(left, " "))
	}
	if a.daemon != nil {
		err = errors.Join(err, a.daemon.stop())
	}
	for _, pod := range a.pods {
		err = errors.Join(err, pod.close())
	}
	return errors.Join(err, a.network.node.close(), os.RemoveAll(a.state))
}
