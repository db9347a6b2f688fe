package reconcile

import (
	"net/netip"
	"testing"
	"time"

	"github.com/ropeway-net/ropeway/kernel"
)

// TestLeftoverIsSparedUntilItIsOld keeps a port that one pod has given back, and
// another may take, from being deleted by its key.
func TestLeftoverIsSparedUntilItIsOld(t *testing.T) {
	key := kernel.PortKey{Protocol: kernel.TCP, Port: 8080}
	first, second := netip.MustParseAddrPort("10.244.1.5:80"), netip.MustParseAddrPort("10.244.1.6:80")
	decision := func(to netip.AddrPort) Decision {
		table := func(elements map[kernel.PortKey]netip.AddrPort) *kernel.Table {
			return &kernel.Table{Maps: map[string]kernel.Map{"host-ports4": {Type: kernel.PortMap4, Elements: elements}}}
		}
		d := Decision{Desired: kernel.State{Table: table(map[kernel.PortKey]netip.AddrPort{})}}
		d.snapshot.State.Table = table(map[kernel.PortKey]netip.AddrPort{key: to})
		d.Plan = kernel.Diff(d.snapshot.State, d.Desired)
		return d
	}
	l, now := leftovers{}, time.Unix(1000, 0)
	for _, tt := range []struct {
		what   string
		to     netip.AddrPort
		at     time.Duration
		spared bool
	}{
		{"seen first", first, 0, true},
		{"a moment later", first, gather / 2, true},
		{"another pod's meanwhile", second, gather, true},
		{"the first one's again", first, gather + 1, true},
		{"old", first, 2*gather + 1, false},
		{"old still", first, 3 * gather, false},
	} {
		d := decision(tt.to)
		if spared := l.spare(&d, now.Add(tt.at)); spared != tt.spared || d.Plan.Empty() != tt.spared {
			t.Errorf("%s: spared %v, plan %s", tt.what, spared, d.Plan)
		}
	}
	d := decision(first)
	d.Desired.Table.Maps["host-ports4"].Elements[key] = second
	d.Plan = kernel.Diff(d.snapshot.State, d.Desired)
	if l.spare(&d, now.Add(4*gather)) || d.Plan.Empty() {
		t.Error("a port that leads to the wrong pod was spared")
	}
}
