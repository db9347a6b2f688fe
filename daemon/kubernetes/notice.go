package kubernetes

import (
	"slices"
	"time"

	"github.com/ropeway-net/ropeway/daemon/cluster"
	"github.com/ropeway-net/ropeway/daemon/status"
)

// noticed is what was noticed about this node in the list, so that it is
// noticed once.
type noticed struct {
	conflicts []string
	bare      time.Time // since when this node has had no pod CIDR; zero: it has one
	told      bool      // that it has none
}

// nodes notices conflicts that this node is part of, and that it has no pod
// CIDR. It returns when to look again although nothing changes; 0: never.
func (n *noticed) nodes(own string, nodes []cluster.Node, conflicts []cluster.Conflict, now time.Time, grace time.Duration, notify func(status.Notice)) time.Duration {
	var current []string
	for _, c := range conflicts {
		if c.Holder != own && c.Loser != own {
			continue // those concerned say so; thousands of bystanders need not
		}
		current = append(current, c.Text)
		if !slices.Contains(n.conflicts, c.Text) {
			notify(status.Notice{Warning: true, Reason: status.PodCIDRConflict, Message: c.Text})
		}
	}
	n.conflicts = current

	at := slices.IndexFunc(nodes, func(node cluster.Node) bool { return node.Name == own })
	if at < 0 || !slices.Contains(nodes[at].Problems, noPodCIDR) {
		n.bare, n.told = time.Time{}, false
		return 0
	}
	if n.bare.IsZero() {
		n.bare = now
	}
	if rest := n.bare.Add(grace).Sub(now); rest > 0 {
		return rest
	}
	if !n.told {
		n.told = true
		notify(status.Notice{Warning: true, Reason: status.PodCIDRMissing, Message: "the node cannot have pods: " + noPodCIDR})
	}
	return 0
}
