package reconcile

import (
	"context"
	"testing"
	"time"

	"github.com/ropeway-net/ropeway/daemon/cluster"
	"github.com/ropeway-net/ropeway/daemon/status"
	"github.com/ropeway-net/ropeway/kernel"
)

// heldKernel lets a pass wait until the test lets it go.
type heldKernel struct {
	kernel.Kernel
	entered, release chan struct{}
}

func (k heldKernel) Snapshot(ctx context.Context) (kernel.Snapshot, error) {
	k.entered <- struct{}{}
	<-k.release
	return k.Kernel.Snapshot(ctx)
}

func TestLoopIsAliveWithoutASourceAndDuringAPass(t *testing.T) {
	b := newBench(t)
	held := heldKernel{b.fake, make(chan struct{}), make(chan struct{})}
	b.kernel = held
	b.start()
	if err := b.loop.Alive(t.Context()); err != nil {
		t.Errorf("waiting for nodes: %v", err)
	}
	go func() {
		b.source.steps <- func(publish func([]cluster.Node), _ func(error)) { publish([]cluster.Node{node(1)}) }
	}()
	<-held.entered
	if err := b.loop.Alive(t.Context()); err != nil {
		t.Errorf("in a pass: %v", err)
	}
	b.loop.pulse.busy(time.Now().Add(-2 * stuck))
	if err := b.loop.Alive(t.Context()); err == nil {
		t.Error("a pass that does not end is called alive")
	}
	close(held.release)
	go func() {
		for range held.entered { // further snapshots
		}
	}()
	b.until("alive again", func() bool { return b.loop.Alive(t.Context()) == nil })
	b.stop()
	close(held.entered)
}

func TestLoopThatDoesNotTurnIsNotAlive(t *testing.T) {
	b := newBench(t)
	b.start()
	b.stop()
	if err := b.loop.Alive(t.Context()); err == nil {
		t.Error("a loop that has ended is called alive")
	}
}

func TestStatusCountsObjectsAsDesiredAndActual(t *testing.T) {
	b := newBench(t)
	b.withLimits(b.attach("c1", "10.244.1.5"))
	b.start()
	b.publish(node(1), node(2))
	b.untilHolds(node(1), node(2))
	r := b.loop.Status()
	for kind, n := range r.Objects {
		if n.Desired != n.Actual || n.Desired == 0 {
			t.Errorf("%s: %+v, want as many as desired and some", kind, n)
		}
	}
	if len(r.Objects) != len(status.Kinds()) {
		t.Errorf("objects %v, want each of %v", r.Objects, status.Kinds())
	}
}
