package reconcile

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/ropeway-net/ropeway/daemon/cluster"
	"github.com/ropeway-net/ropeway/daemon/status"
	"github.com/ropeway-net/ropeway/kernel"
)

// origin says where the nodes in use are from.
type origin int

const (
	fromNowhere origin = iota // none yet; nothing may be touched
	fromMemory                // peers.json
	fromSource
)

// Loop keeps one node's kernel in its desired state. It logs, since nobody is
// above it who could be told.
type Loop struct {
	cfg    Config
	kernel kernel.Kernel
	source cluster.Source
	log    *slog.Logger

	inbox inbox
	pulse pulse

	// Of the goroutine of Run alone.
	nodes   []cluster.Node
	origin  origin
	fresh   bool          // nodes are from the source and not in peers.json yet
	settled *kernel.State // desired state that the kernel was seen to hold; nil: none
	told    told
	quarrel quarrel
	pool    pool
	// leftovers are host ports of no pod, of which some were spared in the pass
	// at hand.
	leftovers leftovers
	spared    bool
	// repaired is what the pass at hand has found changed by others.
	repaired map[string]int

	mu     sync.Mutex
	report status.Report
}

// New returns a loop that Run starts. The kernel is not closed by it.
func New(cfg Config, k kernel.Kernel, source cluster.Source, log *slog.Logger) *Loop {
	if cfg.Resync == 0 {
		cfg.Resync = time.Minute
	}
	if cfg.Patience == 0 {
		cfg.Patience = 5 * time.Second
	}
	if cfg.Notify == nil {
		cfg.Notify = func(status.Notice) {}
	}
	if cfg.Passed == nil {
		cfg.Passed = func(status.Report) {}
	}
	return &Loop{
		cfg: cfg, kernel: k, source: source, log: log,
		inbox:     inbox{changed: make(chan struct{}, 1)},
		leftovers: leftovers{},
		pulse:     newPulse(),
		report: status.Report{
			Node: cfg.Node, Mode: cfg.Topology.Mode,
			Reason: "waiting for the list of nodes from " + cfg.SourceName,
			Drift:  map[string]int{}, Problems: []string{},
		},
	}
}

// Status is what the loop last found. It may be called at any time.
func (l *Loop) Status() status.Report {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := l.report
	r.Drift = maps.Clone(r.Drift) // Objects and what a pass repaired are never written again
	r.Paths = slices.Clone(r.Paths)
	r.Problems = slices.Clone(r.Problems)
	return r
}

// Run reconciles until ctx ends, which is no error, or the source can never
// work. It leaves the kernel as it is.
func (l *Loop) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var wait sync.WaitGroup
	defer wait.Wait()
	defer cancel()

	kernelChanged, err := l.kernel.Watch(ctx)
	if err != nil {
		return fmt.Errorf("listen for changes of the kernel: %w", err)
	}
	endpointsChanged := watchDir(ctx, &wait, watched{l.cfg.StateDir.Endpoints(), "endpoint records", "changes are seen by the pods' links", l.cfg.Resync}, l.log)
	confsChanged := watchDir(ctx, &wait, watched{l.cfg.Conflist.Dir, "CNI configurations", "changes are seen at the next resync", l.cfg.Resync}, l.log)
	failed := make(chan error, 1)
	wait.Go(func() {
		if err := l.source.Run(ctx, l.inbox.publish, l.inbox.complain); err != nil {
			failed <- err
		}
	})

	l.dropTornRecords()
	patience := time.NewTimer(l.cfg.Patience)
	defer patience.Stop()
	resync := time.NewTicker(l.cfg.Resync)
	defer resync.Stop()
	pace := newPace()
	defer pace.timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-failed:
			return fmt.Errorf("%s: %w", l.cfg.SourceName, err)
		case <-l.pulse.asked:
		case <-l.inbox.changed:
			if l.takeNews() {
				pace.now()
			}
		case <-patience.C:
			if l.recall("the source has said nothing for " + l.cfg.Patience.String()) {
				pace.now()
			}
		case <-endpointsChanged:
			pace.soon()
		case <-confsChanged:
			pace.soon()
		case report, open := <-kernelChanged:
			switch {
			case !open:
				l.log.Warn("changes of the kernel are not reported any more, listening again at the next resync", "resync", l.cfg.Resync)
				kernelChanged = nil
			case report == kernel.PodsChanged:
				pace.pods()
			default:
				pace.later()
			}
		case <-resync.C:
			if kernelChanged == nil {
				kernelChanged = l.watchAgain(ctx)
			}
			pace.later()
		case <-pace.timer.C:
			l.step(ctx, pace)
		}
	}
}

// watchAgain listens anew after a socket broke, nil if that fails.
func (l *Loop) watchAgain(ctx context.Context) <-chan kernel.Report {
	changed, err := l.kernel.Watch(ctx)
	if err != nil {
		l.log.Error("changes of the kernel cannot be listened for", "cause", err.Error())
		return nil
	}
	return changed
}

// step runs one pass with the latest news, unless the nodes are not known yet.
func (l *Loop) step(ctx context.Context, pace *pace) {
	pace.started()
	select {
	case <-l.inbox.changed:
		l.takeNews()
	default:
	}
	if l.origin == fromNowhere {
		return
	}
	l.pulse.busy(time.Now())
	err := l.pass(ctx)
	l.pulse.rests()
	if ctx.Err() != nil {
		return
	}
	l.quarrel.forget(time.Now())
	pace.ended(err, l.quarrel.rest)
	if l.spared {
		pace.pods()
	}
}

// takeNews takes over what the source said and reports whether that calls for
// a pass.
func (l *Loop) takeNews() bool {
	nodes, published, complaint := l.inbox.take()
	text := ""
	if complaint != nil {
		text = complaint.Error()
	}
	l.mu.Lock()
	before := l.report.Nodes.Error
	l.report.Nodes.Error = text
	if l.origin == fromNowhere && complaint != nil {
		l.report.Reason = text
	}
	l.mu.Unlock()
	switch {
	case text != "" && text != before:
		l.log.Error("nodes cannot be read, the last good list stands", "cause", text)
	case text == "" && before != "":
		l.log.Info("nodes can be read again")
	}
	if published {
		l.nodes, l.origin, l.fresh = nodes, fromSource, true
		return true
	}
	return complaint != nil && l.recall("the source cannot be read")
}

// recall takes the last known nodes when there are no newer ones.
func (l *Loop) recall(reason string) bool {
	if l.origin != fromNowhere {
		return false
	}
	nodes, err := cluster.Recall(l.cfg.StateDir.PeersFile())
	if err != nil {
		l.log.Info("no nodes known yet, nothing is touched", "reason", reason, "memory", err.Error())
		return false
	}
	l.log.Warn("using the last known nodes", "reason", reason, "file", l.cfg.StateDir.PeersFile(), "nodes", len(nodes))
	l.nodes, l.origin = nodes, fromMemory
	return true
}

// originName says where the nodes in use are from.
func (l *Loop) originName() string {
	switch l.origin {
	case fromMemory:
		return l.cfg.StateDir.PeersFile()
	case fromSource:
		return l.cfg.SourceName
	default:
		return ""
	}
}
