package reconcile

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"time"

	"github.com/ropeway-net/ropeway/daemon/cluster"
	"github.com/ropeway-net/ropeway/daemon/status"
	"github.com/ropeway-net/ropeway/kernel"
	"github.com/ropeway-net/ropeway/statedir"
)

// passTimeout bounds one pass; a kernel that needs longer is in distress.
const passTimeout = 30 * time.Second

// rounds bounds how often a pass applies a difference before it says that
// somebody works against it.
const rounds = 3

// pass brings the kernel to the desired state once and tells how that went.
func (l *Loop) pass(parent context.Context) error {
	ctx, cancel := context.WithTimeout(parent, passTimeout)
	defer cancel()
	start := time.Now()
	l.repaired = nil
	d, operations, err := l.converge(ctx, l.nodes)
	if parent.Err() != nil {
		return parent.Err() // told to stop: what failed for that reason is no news
	}
	if d.Self.Name != "" { // something could be decided
		if err == nil {
			settled := d.Desired
			l.settled = &settled
		} else {
			l.settled = nil
		}
		err = errors.Join(err, statedir.Explain(l.writeState(d)))
		if err == nil {
			err = statedir.Explain(l.cfg.Conflist.write())
		}
		l.lookAtPool(ctx, d)
	}
	l.tell(d, status.Pass{Time: time.Now(), Duration: time.Since(start), Operations: operations, Repaired: l.repaired}, err)
	l.cfg.Passed(l.Status())
	return err
}

// decide is [Decide], with host ports spared that may be another pod's by the time
// of applying.
func (l *Loop) decide(ctx context.Context, nodes []cluster.Node) (Decision, error) {
	d, err := Decide(ctx, l.cfg, l.kernel, nodes)
	if err == nil {
		l.spared = l.leftovers.spare(&d, time.Now())
	}
	return d, err
}

// converge applies the difference until there is none, and returns the last
// decision. A failing operation does not keep the others from being applied.
func (l *Loop) converge(ctx context.Context, nodes []cluster.Node) (Decision, int, error) {
	d, err := l.decide(ctx, nodes)
	if err != nil {
		return d, 0, err
	}
	var applied kernel.Plan
	for range rounds {
		if d.Plan.Empty() {
			break
		}
		plan, refused := l.recordSysctls(d)
		l.log.Debug("apply", "commands", commands(plan))
		applied.Ops = append(applied.Ops, plan.Ops...)
		if err := errors.Join(l.kernel.Apply(ctx, plan), refused); err != nil {
			return d, len(applied.Ops), err
		}
		again, err := l.decide(ctx, nodes)
		if err != nil {
			return d, len(applied.Ops), err
		}
		d = again
	}
	if !d.Plan.Empty() {
		return d, len(applied.Ops), fmt.Errorf("the kernel still differs after %d attempts, does another program change the same objects? These keep differing: %s", rounds, commands(d.Plan))
	}
	culprits := l.kernel.Culprits() // those of changes that need no repair are forgotten
	if !applied.Empty() {
		l.noteDrift(applied, d.Desired, culprits)
	}
	return d, len(applied.Ops), nil
}

// writeState remembers the nodes and tells the plugin, also when something
// else fails: pods that are there live by it.
func (l *Loop) writeState(d Decision) error {
	var errs []error
	if l.fresh {
		err := cluster.Remember(l.cfg.StateDir.PeersFile(), l.nodes)
		l.fresh = err != nil
		errs = append(errs, err)
	}
	return errors.Join(append(errs, writeNode(l.cfg, d))...)
}

// temporary is the part of an error's text that is new each time.
var temporary = regexp.MustCompile(regexp.QuoteMeta(statedir.TempPrefix) + `\S+`)

// sameCause says whether two errors differ at most in names of temporary files.
func sameCause(a, b string) bool {
	return temporary.ReplaceAllString(a, "") == temporary.ReplaceAllString(b, "")
}

// tell publishes the outcome for the status socket and logs what is new.
func (l *Loop) tell(d Decision, pass status.Pass, err error) {
	l.tellAddress(d.Address)
	problems := make([]string, 0, len(d.Problems))
	for _, p := range d.Problems {
		problems = append(problems, p.Error())
	}
	if d.Self.Name != "" {
		l.told.logPaths(l.log, d.Result.Paths)
		l.told.logProblems(l.log, problems)
		l.noteObstacles(d.Result.Obstacles)
		l.noteForeignConf(d.foreignConf)
	}

	l.mu.Lock()
	wasReady, lastError := l.report.Ready, l.report.Last.Error
	if err != nil {
		pass.Error = err.Error()
	}
	l.report.Last = pass
	l.report.Ready, l.report.Reason = err == nil, pass.Error
	l.report.Nodes.Count, l.report.Nodes.Origin = len(l.nodes), l.originName()
	if d.Self.Name != "" {
		l.report.PodCIDRs, l.report.PodMTU, l.report.Pods = d.Self.PodCIDRs, d.Result.PodMTU, d.Pods
		l.report.Paths, l.report.Problems = d.Result.Paths, problems
		l.report.Objects = countObjects(d)
	}
	l.mu.Unlock()

	switch {
	case err != nil && !sameCause(pass.Error, lastError):
		l.log.Error("reconcile failed", "cause", pass.Error)
	case err == nil && !wasReady:
		l.log.Info("ready: the kernel holds what it should", "node", d.Self.Name, "mode", l.cfg.Topology.Mode, "podMTU", d.Result.PodMTU, "nodes", len(l.nodes), "operations", pass.Operations)
	case err == nil && pass.Operations > 0 && l.quarrel.untold == 0:
		l.log.Info("reconciled", "operations", pass.Operations, "duration", pass.Duration)
	}
}
