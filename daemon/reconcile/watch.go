package reconcile

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/ropeway-net/ropeway/coalesce"
)

// watched is a directory whose files' changes are reported. Where it cannot be
// watched the changes are seen otherwise, or later.
type watched struct {
	dir, what, otherwise string
	again                time.Duration // until the next attempt when it cannot be watched
}

// watchRest is how long after a reading the next one comes. ADD and DEL change
// several files each, and are disturbed once.
const watchRest = 10 * time.Millisecond

// watchDir reports changes of the files in a directory, which it creates.
func watchDir(ctx context.Context, wait *sync.WaitGroup, w watched, log *slog.Logger) <-chan struct{} {
	reports := make(chan struct{}, 1)
	report := func() {
		select {
		case reports <- struct{}{}:
		default:
		}
	}
	d, err := openDirWatch(w.dir)
	wait.Go(func() {
		for failing := false; ; {
			if err == nil {
				failing = false
				err = d.run(ctx, report)
			}
			if ctx.Err() != nil {
				return
			}
			if !failing {
				log.Warn("a directory cannot be watched", "holds", w.what, "otherwise", w.otherwise, "cause", err.Error())
			}
			failing = true
			select {
			case <-ctx.Done():
				return
			case <-time.After(w.again):
			}
			if d, err = openDirWatch(w.dir); err == nil {
				report()
			}
		}
	})
	return reports
}

// run calls changed until ctx ends or the directory cannot be watched any more, and
// ends the watch.
func (d *dirWatch) run(ctx context.Context, changed func()) error {
	defer d.Close()
	reader, err := coalesce.New(d.fd)
	if err != nil {
		return err
	}
	return reader.Run(ctx, watchRest, func() (bool, error) {
		any, err := d.read()
		if any {
			changed()
		}
		return true, err
	})
}
