package health

import (
	"net"
	"net/http"
	"sync"
	"time"
)

// crowd keeps those who only hold connections, as any user of the node can,
// from keeping the kubelet out: when there are too many, the one that has
// waited longest for its next request is closed. It is an [http.Server]'s
// ConnState.
type crowd struct {
	most int

	mu      sync.Mutex
	open    map[net.Conn]struct{}
	waiting map[net.Conn]time.Time // since when; without a request at work
}

func newCrowd(most int) *crowd {
	return &crowd{most: most, open: map[net.Conn]struct{}{}, waiting: map[net.Conn]time.Time{}}
}

func (c *crowd) changed(conn net.Conn, state http.ConnState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch state {
	case http.StateNew:
		if len(c.open) >= c.most {
			c.closeLongest()
		}
		c.open[conn] = struct{}{}
		c.waiting[conn] = time.Now()
	case http.StateIdle:
		c.waiting[conn] = time.Now()
	case http.StateActive:
		delete(c.waiting, conn)
	case http.StateClosed, http.StateHijacked:
		delete(c.waiting, conn)
		delete(c.open, conn)
	}
}

func (c *crowd) closeLongest() {
	var longest net.Conn
	for conn, since := range c.waiting {
		if longest == nil || since.Before(c.waiting[longest]) {
			longest = conn
		}
	}
	if longest != nil {
		delete(c.waiting, longest)
		delete(c.open, longest)
		_ = longest.Close()
	}
}
