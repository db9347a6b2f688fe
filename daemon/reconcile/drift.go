package reconcile

import (
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/ropeway-net/ropeway/daemon/status"
	"github.com/ropeway-net/ropeway/kernel"
)

// kind names what an operation is about, for counting.
func kind(op kernel.Op) string {
	switch op.(type) {
	case kernel.SysctlSet:
		return "sysctl"
	case kernel.LinkAdd, kernel.LinkSet, kernel.LinkDel:
		return "link"
	case kernel.AddressAdd, kernel.AddressDel:
		return "address"
	case kernel.RouteAdd, kernel.RouteReplace, kernel.RouteDel:
		return "route"
	case kernel.NeighbourReplace, kernel.NeighbourDel:
		return "neighbour"
	case kernel.FDBReplace, kernel.FDBDel:
		return "fdb"
	case kernel.ShaperAdd, kernel.ShaperSet, kernel.ShaperDel:
		return "shaper"
	case kernel.TableChange:
		return "nftables"
	case kernel.AdmissionAdd, kernel.AdmissionDel:
		return "firewall"
	default:
		return "other"
	}
}

// commands prints the beginning of a plan; a log line that holds thousands of
// commands helps nobody.
func commands(plan kernel.Plan) string {
	const most = 20
	var lines []string
	for n, op := range plan.Ops {
		if n == most {
			lines = append(lines, "…")
			break
		}
		lines = append(lines, op.String())
	}
	return strings.Join(lines, "\n")
}

// noteDrift counts and logs a repair: something was changed though what should
// be there was the same before and after. Pods come and go while a snapshot
// is taken; comparing with the state after the repair keeps that apart, and of a
// pod that came and went since the last pass only leftovers are deleted.
func (l *Loop) noteDrift(plan kernel.Plan, after kernel.State, culprits []kernel.Culprit) {
	if l.settled == nil || !kernel.Diff(*l.settled, after).Empty() {
		return
	}
	plan.Ops = slices.DeleteFunc(slices.Clone(plan.Ops), kernel.IsLeftover)
	if plan.Empty() {
		return
	}
	counts := map[string]int{}
	for _, op := range plan.Ops {
		counts[kind(op)]++
	}
	l.repaired = counts
	l.mu.Lock()
	for k, n := range counts {
		l.report.Drift[k] += n
	}
	l.mu.Unlock()
	l.cfg.Notify(status.Notice{
		Warning: true, Reason: status.RouteRepaired, Counts: counts,
		Message: whoChanged(culprits) + " changed what Ropeway owns, and it was repaired; the daemon's log shows the commands",
	})
	tell, untold := l.quarrel.repaired(time.Now())
	if !tell {
		return
	}
	attrs := []any{}
	for _, k := range slices.Sorted(maps.Keys(counts)) {
		attrs = append(attrs, slog.Int(k, counts[k]))
	}
	l.log.Warn("drift repaired: somebody else changed what Ropeway owns",
		slog.Group("repaired", attrs...), "by", allOf(culprits), "commands", commands(plan), "untoldRepairs", untold)
}

// whoChanged names the programs that are known by name; the others have a new
// PID each time, which would make of one story many.
func whoChanged(culprits []kernel.Culprit) string {
	named := slices.DeleteFunc(slices.Clone(culprits), func(c kernel.Culprit) bool { return c.Program == "" })
	if len(named) == 0 {
		return "another program"
	}
	return allOf(named)
}

func allOf(culprits []kernel.Culprit) string {
	if len(culprits) == 0 {
		return "unknown"
	}
	var names []string
	for _, c := range culprits {
		names = append(names, c.String())
	}
	return strings.Join(names, ", ")
}
