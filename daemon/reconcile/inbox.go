package reconcile

import (
	"sync"

	"github.com/ropeway-net/ropeway/daemon/cluster"
)

// inbox holds what the source said last. The source never waits for the loop.
type inbox struct {
	changed chan struct{} // holds one report

	mu        sync.Mutex
	nodes     []cluster.Node
	published bool // nodes are newer than the last take
	complaint error
}

func (i *inbox) publish(nodes []cluster.Node) {
	i.mu.Lock()
	i.nodes, i.published = nodes, true
	i.mu.Unlock()
	i.notify()
}

func (i *inbox) complain(err error) {
	i.mu.Lock()
	i.complaint = err
	i.mu.Unlock()
	i.notify()
}

func (i *inbox) notify() {
	select {
	case i.changed <- struct{}{}:
	default:
	}
}

func (i *inbox) take() (nodes []cluster.Node, published bool, complaint error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	nodes, published, complaint = i.nodes, i.published, i.complaint
	i.published = false
	return nodes, published, complaint
}
