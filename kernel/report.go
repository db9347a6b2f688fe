package kernel

import "sync"

// Report says what has changed.
type Report int

const (
	nothing Report = iota
	// PodsChanged means links of pods and what hangs on them, which the plugin
	// makes and takes away by itself as a rule.
	PodsChanged
	// Changed means anything else.
	Changed
)

// reports is a channel that holds one report, the greatest.
type reports struct {
	mu sync.Mutex
	c  chan Report
}

func newReports() *reports { return &reports{c: make(chan Report, 1)} }

func (r *reports) send(report Report) {
	if report == nothing {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	select {
	case waiting := <-r.c:
		report = max(report, waiting)
	default:
	}
	r.c <- report // nobody else sends, so there is room
}
