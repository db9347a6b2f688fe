package reconcile

import (
	"maps"
	"os"
	"testing"

	"github.com/ropeway-net/ropeway/bandwidth"
	"github.com/ropeway-net/ropeway/endpoint"
	"github.com/ropeway-net/ropeway/kernel"
)

// withLimits gives a record limits in both directions, and returns the shapers
// that these need.
func (b *bench) withLimits(r endpoint.Record) map[kernel.ShaperKey]kernel.Shaper {
	b.t.Helper()
	r.Bandwidth = bandwidth.Limits{Ingress: bandwidth.Limit{Rate: 8_000_000, Burst: 800_000}, Egress: bandwidth.Limit{Rate: 16_000_000, Burst: 800_000}}
	if err := b.records().Write(r); err != nil {
		b.t.Fatal(err)
	}
	return bandwidth.Shapers(r.Bandwidth, r.HostLink, r.MTU)
}

func (b *bench) shapers() map[kernel.ShaperKey]kernel.Shaper {
	b.t.Helper()
	s, err := b.fake.Snapshot(b.t.Context())
	if err != nil {
		b.t.Fatal(err)
	}
	return s.State.Shapers
}

func TestShapersComeAreRepairedAndGoWithTheRecord(t *testing.T) {
	b := newBench(t)
	r := b.attach("c1", "10.244.1.5")
	b.start()
	b.publish(node(1), node(2))
	want := b.withLimits(r)
	b.until("the pod is limited", func() bool { return maps.Equal(b.shapers(), want) })
	for key := range want {
		if err := b.fake.Damage(kernel.ShaperDel{ShaperKey: key}); err != nil {
			t.Fatal(err)
		}
		b.until("the limit is back", func() bool { return maps.Equal(b.shapers(), want) })
	}
	if err := b.records().Remove(r.ContainerID, r.IfName); err != nil {
		t.Fatal(err)
	}
	if err := b.fake.Damage(kernel.LinkDel{Name: r.HostLink}); err != nil {
		t.Fatal(err)
	}
	b.until("nothing is left", func() bool { return len(b.shapers()) == 0 })
}

func TestLostRecordKeepsThePodsLimits(t *testing.T) {
	b := newBench(t)
	r := b.attach("c1", "10.244.1.5")
	want := b.withLimits(r)
	b.start()
	b.publish(node(1), node(2))
	b.until("the pod is limited", func() bool { return maps.Equal(b.shapers(), want) })
	if err := os.Remove(b.cfg.StateDir.Endpoints() + "/c1-eth0.json"); err != nil {
		t.Fatal(err)
	}
	b.publish(node(1), node(2), node(3))
	b.until("node 3 has a path", func() bool { _, ok := b.route("10.244.3.0/24"); return ok })
	if got := b.shapers(); !maps.Equal(got, want) {
		t.Errorf("shapers are %v, want %v", got, want)
	}
}
