package reconcile

import (
	"github.com/ropeway-net/ropeway/daemon/status"
	"github.com/ropeway-net/ropeway/kernel"
)

// countObjects counts what the kernel should hold and what it held when the
// decision was taken, by the kinds of [status.Kinds]. Of sysctls those are
// counted that have the desired value.
func countObjects(d Decision) map[string]status.Objects {
	desired, actual := count(d.Desired), count(d.snapshot.State)
	sysctls := 0
	for key, value := range d.Desired.Sysctls {
		if d.snapshot.State.Sysctls[key] == value {
			sysctls++
		}
	}
	actual["sysctl"] = sysctls
	out := make(map[string]status.Objects, len(desired))
	for kind, n := range desired {
		out[kind] = status.Objects{Desired: n, Actual: actual[kind]}
	}
	return out
}

func count(s kernel.State) map[string]int {
	return map[string]int{
		"link":      len(s.Links),
		"address":   len(s.Addresses),
		"route":     len(s.Routes),
		"neighbour": len(s.Neighbours),
		"fdb":       len(s.FDB),
		"sysctl":    len(s.Sysctls),
		"nftables":  tableSize(s.Table),
		"shaper":    len(s.Shapers),
	}
}

// tableSize is the number of rules and of elements of sets and maps.
func tableSize(t *kernel.Table) int {
	if t == nil {
		return 0
	}
	n := 0
	for _, set := range t.Sets {
		n += len(set.Elements)
	}
	for _, m := range t.Maps {
		n += len(m.Elements)
	}
	for _, chain := range t.Chains {
		n += len(chain.Rules)
	}
	return n
}
