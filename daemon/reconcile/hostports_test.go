package reconcile

import (
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/ropeway-net/ropeway/endpoint"
	"github.com/ropeway-net/ropeway/hostports"
	"github.com/ropeway-net/ropeway/kernel"
)

// withPort gives a record a host port.
func (b *bench) withPort(r endpoint.Record, port uint16) {
	b.t.Helper()
	r.HostPorts = []hostports.Port{{HostPort: port, ContainerPort: 80, Protocol: kernel.TCP}}
	if err := b.records().Write(r); err != nil {
		b.t.Fatal(err)
	}
}

// leads is where a host port leads, the zero value if nowhere.
func (b *bench) leads(port uint16) netip.AddrPort {
	b.t.Helper()
	s, err := b.fake.Snapshot(b.t.Context())
	if err != nil {
		b.t.Fatal(err)
	}
	if s.State.Table == nil {
		return netip.AddrPort{}
	}
	return s.State.Table.Maps["host-ports4"].Elements[kernel.PortKey{Protocol: kernel.TCP, Port: port}]
}

func TestHostPortsComeAndGoWithTheRecord(t *testing.T) {
	b := newBench(t)
	r := b.attach("c1", "10.244.1.5")
	b.start()
	b.publish(node(1), node(2))
	b.until("the pod has a route", func() bool { _, ok := b.route("10.244.1.5/32"); return ok })
	b.withPort(r, 8080)
	want := netip.MustParseAddrPort("10.244.1.5:80")
	b.until("the port is open", func() bool { return b.leads(8080) == want })
	if err := b.fake.Damage(kernel.Diff(kernel.State{Table: hostports.Table()}, kernel.State{}).Ops...); err != nil {
		t.Fatal(err)
	}
	b.until("the port is open again", func() bool { return b.leads(8080) == want })
	if err := b.records().Remove(r.ContainerID, r.IfName); err != nil {
		t.Fatal(err)
	}
	if err := b.fake.Damage(kernel.LinkDel{Name: r.HostLink}); err != nil {
		t.Fatal(err)
	}
	b.until("the port is closed", func() bool { return !b.leads(8080).IsValid() })
}

func TestLostRecordKeepsThePodsHostPorts(t *testing.T) {
	b := newBench(t)
	r := b.attach("c1", "10.244.1.5")
	b.withPort(r, 8080)
	b.start()
	b.publish(node(1), node(2))
	b.until("the port is open", func() bool { return b.leads(8080).IsValid() })
	if err := os.RemoveAll(b.cfg.StateDir.Endpoints()); err != nil {
		t.Fatal(err)
	}
	b.until("the loss is told", func() bool { return strings.Contains(strings.Join(b.loop.Status().Problems, ""), r.HostLink) })
	if !b.leads(8080).IsValid() {
		t.Error("the pod lost its port")
	}
	other := b.attach("c2", "10.244.1.6")
	b.withPort(other, 8080)
	b.until("a pod with a record has the port", func() bool { return b.leads(8080) == netip.MustParseAddrPort("10.244.1.6:80") })
}
