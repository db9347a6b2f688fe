package lab

import (
	"errors"
	"fmt"
	"slices"

	"sigs.k8s.io/yaml"

	"github.com/ropeway-net/ropeway/daemon/cluster"
	"github.com/ropeway-net/ropeway/statedir"
)

// ClusterNodes is what the nodes files say.
func (l *Lab) ClusterNodes() []cluster.Node {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.cluster)
}

// SetNodes replaces every node's nodes file. The daemons that watch it follow;
// wait for that with [Lab.WaitReady].
func (l *Lab) SetNodes(nodes []cluster.Node) error {
	l.mu.Lock()
	l.cluster = slices.Clone(nodes)
	l.mu.Unlock()
	var errs []error
	for _, n := range l.Nodes() {
		errs = append(errs, n.SetNodes(nodes))
	}
	return errors.Join(append(errs, l.save())...)
}

// SetNodes replaces this node's nodes file alone.
func (n *Node) SetNodes(nodes []cluster.Node) error {
	b, err := yaml.Marshal(map[string]any{"nodes": nodes})
	if err != nil {
		return fmt.Errorf("node %s: nodes file: %w", n.Name, err)
	}
	return statedir.WriteFile(n.NodesFile(), b)
}

// replaced is the list of nodes with the one of the same name exchanged.
func (l *Lab) replaced(node cluster.Node) []cluster.Node {
	nodes := l.ClusterNodes()
	for i := range nodes {
		if nodes[i].Name == node.Name {
			nodes[i] = node
		}
	}
	return nodes
}
