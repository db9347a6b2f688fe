package main

import (
	"context"
	"log/slog"
	"time"

	"github.com/ropeway-net/ropeway/daemon/sweep"
	"github.com/ropeway-net/ropeway/kernel"
	"github.com/ropeway-net/ropeway/statedir"
)

// gatherLinks is how long a link that a plugin retired waits for others. By then
// the kernel itself has taken many of them away with the pods' namespaces.
const gatherLinks = 50 * time.Millisecond

// sweepLinks deletes the links that plugins have retired until ctx ends.
func sweepLinks(ctx context.Context, dir statedir.Dir, again time.Duration, log *slog.Logger) {
	netns, err := kernel.OwnNetns()
	if err != nil {
		log.Error("plugins delete the links of pods themselves", "cause", err.Error())
		return
	}
	s := sweep.Sweeper{
		StateDir: dir, Netns: netns, Delete: kernel.DeleteRetired,
		Gather: gatherLinks, Again: again, Log: log,
	}
	s.Run(ctx)
}
