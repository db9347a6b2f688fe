package reconcile

import (
	"log/slog"
	"net/netip"

	"github.com/ropeway-net/ropeway/daemon/topology"
)

// told is what has been logged, so that each decision and each problem is
// logged once and again only when it changes.
type told struct {
	paths    map[pathKey]topology.Path
	problems map[string]struct{}
	// obstacles are the messages of those that have been told of.
	obstacles map[string]struct{}
	// foreignConf is the problem with another network's CNI configuration.
	foreignConf string
}

type pathKey struct {
	peer    string
	podCIDR netip.Prefix
}

func (t *told) logPaths(log *slog.Logger, paths []topology.Path) {
	now := make(map[pathKey]topology.Path, len(paths))
	for _, p := range paths {
		key := pathKey{p.Peer, p.PodCIDR}
		now[key] = p
		if t.paths[key] != p {
			log.Info("path", "peer", p.Peer, "podCIDR", p.PodCIDR, "via", p.Via, "nextHop", nextHop(p), "link", p.Link, "reason", p.Reason)
		}
	}
	for key, p := range t.paths {
		if _, still := now[key]; !still {
			log.Info("path removed", "peer", p.Peer, "podCIDR", p.PodCIDR)
		}
	}
	t.paths = now
}

func nextHop(p topology.Path) string {
	if !p.NextHop.IsValid() {
		return ""
	}
	return p.NextHop.String()
}

func (t *told) logProblems(log *slog.Logger, problems []string) {
	now := map[string]struct{}{}
	for _, p := range problems {
		now[p] = struct{}{}
		if _, old := t.problems[p]; !old {
			log.Warn("problem", "cause", p)
		}
	}
	for p := range t.problems {
		if _, still := now[p]; !still {
			log.Info("problem is gone", "cause", p)
		}
	}
	t.problems = now
}
