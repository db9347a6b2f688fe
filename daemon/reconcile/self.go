package reconcile

import (
	"errors"
	"fmt"
	"strings"

	"github.com/ropeway-net/ropeway/daemon/cluster"
	"github.com/ropeway-net/ropeway/daemon/status"
	"github.com/ropeway-net/ropeway/daemon/topology"
)

// usableSelf refuses a node of which the source has left out what it cannot
// live without, in the source's words.
func usableSelf(self cluster.Node) error {
	if len(self.Problems) == 0 || len(self.Addresses) > 0 && len(self.PodCIDRs) > 0 {
		return nil
	}
	missing := "address"
	if len(self.Addresses) > 0 {
		missing = "pod CIDR"
	}
	return fmt.Errorf("node %s has no usable %s: %s", self.Name, missing, strings.Join(self.Problems, "; "))
}

// nodeProblems are what the source knows and leaves out of the nodes.
func nodeProblems(nodes []cluster.Node) []error {
	var problems []error
	for _, n := range nodes {
		for _, p := range n.Problems {
			problems = append(problems, errors.New("node "+n.Name+": "+p))
		}
	}
	return problems
}

// tellAddress publishes by which address this node is reached, and logs it
// when it changes.
func (l *Loop) tellAddress(a topology.NodeAddress) {
	if len(a.Addresses) == 0 {
		return
	}
	l.mu.Lock()
	changed := l.report.Address.Reason != a.Reason
	l.report.Address = status.Address{Addresses: a.Addresses, Reason: a.Reason, Chosen: a.Chosen}
	l.mu.Unlock()
	if changed {
		l.log.Info("node address", "addresses", a.Addresses, "reason", a.Reason)
	}
}
