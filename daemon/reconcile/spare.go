package reconcile

import (
	"net/netip"
	"time"

	"github.com/ropeway-net/ropeway/kernel"
)

// portElement is an element of a map of host ports.
type portElement struct {
	name string // of the map
	key  kernel.PortKey
	to   netip.AddrPort
}

// leftovers are host ports that lead to no pod, with the time at which they were
// first seen. The kernel deletes an element by its key alone: a port that one pod
// gives back and the next one takes while a pass is at work would be taken from
// the next one. What is a leftover for longer than that is nobody's.
type leftovers map[portElement]time.Time

// spare keeps leftovers in the desired state until they are old enough, and says
// whether it has kept any.
func (l leftovers) spare(d *Decision, now time.Time) bool {
	actual, desired := d.snapshot.State.Table, d.Desired.Table
	if actual == nil || desired == nil {
		clear(l)
		return false
	}
	seen := map[portElement]bool{}
	kept := false
	for name, have := range actual.Maps {
		want, ok := desired.Maps[name]
		if !ok || want.Type != have.Type {
			continue
		}
		for key, to := range have.Elements {
			if _, wanted := want.Elements[key]; wanted {
				continue
			}
			e := portElement{name, key, to}
			seen[e] = true
			if _, known := l[e]; !known {
				l[e] = now
			}
			if now.Sub(l[e]) < gather {
				want.Elements[key] = to
				kept = true
			}
		}
	}
	for e := range l {
		if !seen[e] {
			delete(l, e)
		}
	}
	if kept {
		d.Plan = kernel.Diff(d.snapshot.State, d.Desired)
	}
	return kept
}
