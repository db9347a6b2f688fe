package main

import (
	"context"
	"fmt"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// departure waits for the pod's end of a link to go. It goes with the node's
// end, wherever that was put and whoever deletes it, and the kernel tells so
// when the slow part, waiting for every processor to let go of it, is over.
type departure struct {
	gone chan time.Time
	done chan struct{}
}

// watchDeparture begins before the link is deleted.
func watchDeparture(pod *namespace) (departure, error) {
	updates := make(chan netlink.LinkUpdate)
	d := departure{gone: make(chan time.Time, 1), done: make(chan struct{})}
	handle := netns.NsHandle(pod.file.Fd())
	options := netlink.LinkSubscribeOptions{Namespace: &handle}
	if err := netlink.LinkSubscribeWithOptions(updates, d.done, options); err != nil {
		return departure{}, fmt.Errorf("watch a pod's link: %w", err)
	}
	go func() {
		told := false
		for u := range updates { // until done is closed
			if !told && u.Header.Type == unix.RTM_DELLINK && u.Attrs().Name == podLink {
				d.gone <- time.Now()
				told = true
			}
		}
	}()
	return d, nil
}

// wait returns when the link went.
func (d departure) wait(ctx context.Context) (time.Time, error) {
	late := time.NewTimer(goneTimeout)
	defer late.Stop()
	select {
	case at := <-d.gone:
		return at, nil
	case <-ctx.Done():
		return time.Time{}, context.Cause(ctx)
	case <-late.C:
		return time.Time{}, fmt.Errorf("a pod's link is still there %s after DEL", goneTimeout)
	}
}

// goneTimeout is generous: hundreds of links go one after the other.
const goneTimeout = time.Minute

func (d departure) close() { close(d.done) }
