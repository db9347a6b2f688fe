package kubernetes

import (
	"log/slog"
	"time"

	"github.com/ropeway-net/ropeway/daemon/cluster"
)

// Config says which cluster, and who asks.
type Config struct {
	Node string // own name
	// Kubeconfig is a file; empty means the service account of the pod that
	// the daemon runs in.
	Kubeconfig string
	UserAgent  string
	Log        *slog.Logger
}

// API is the cluster as its API server shows it. Use [New].
type API struct {
	cfg Config
	own own
	bin bin
	// changed holds one report that the list may have changed.
	changed chan struct{}

	// Tests make these shorter.
	settle time.Duration // how long a change may be followed by others that belong to it
	look   time.Duration // between two looks at the files that the client is made from
	grace  time.Duration // before a new node without pod CIDR is worth a notice
	calm   calm
}

// calm is how often what is written.
type calm struct {
	unready time.Duration // before the condition says that the network is away
	rewrite time.Duration // between two writes of a condition that somebody overwrites
	event   time.Duration // between two writes about one reason
	gather  time.Duration // before the first write about a reason, for more of the same
}

var _ cluster.Source = (*API)(nil)

// New returns an API that Run connects.
func New(cfg Config) *API {
	return &API{
		cfg: cfg, own: newOwn(), bin: newBin(), changed: make(chan struct{}, 1),
		settle: 3 * time.Millisecond,
		look:   5 * time.Second,
		grace:  10 * time.Second,
		calm: calm{
			unready: 5 * time.Second,
			rewrite: 10 * time.Second,
			event:   time.Minute,
			gather:  time.Second,
		},
	}
}

func (a *API) nodesChanged() {
	select {
	case a.changed <- struct{}{}:
	default:
	}
}

// Name names the list of nodes in messages.
func (a *API) Name() string {
	if a.cfg.Kubeconfig != "" {
		return "the API server of " + a.cfg.Kubeconfig
	}
	return "the API server"
}
