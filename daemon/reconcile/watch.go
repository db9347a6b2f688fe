package reconcile

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/fsnotify/fsnotify"

	"github.com/ropeway-net/ropeway/statedir"
)

// watched is a directory whose files' changes are reported. Where it cannot be
// watched the changes are seen otherwise, or later.
type watched struct {
	dir, what, otherwise string
}

// watchDir reports changes of the files in a directory, which it creates.
func watchDir(ctx context.Context, wait *sync.WaitGroup, w watched, log *slog.Logger) <-chan struct{} {
	dir := w.dir
	reports := make(chan struct{}, 1)
	watcher, err := fsnotify.NewWatcher()
	if err == nil {
		err = addDir(watcher, dir)
	}
	if err != nil {
		log.Warn("a directory cannot be watched", "holds", w.what, "otherwise", w.otherwise, "cause", err.Error())
		if watcher != nil {
			_ = watcher.Close()
		}
		return reports
	}
	wait.Go(func() {
		defer watcher.Close()
		for {
			select {
			case <-ctx.Done():
				return
			case e := <-watcher.Events:
				if strings.HasPrefix(filepath.Base(e.Name), statedir.TempPrefix) {
					continue // the rename into place is the change
				}
				if e.Name == dir && e.Has(fsnotify.Remove|fsnotify.Rename) {
					if err := addDir(watcher, dir); err != nil {
						log.Warn("a directory cannot be watched any more", "holds", w.what, "otherwise", w.otherwise, "cause", err.Error())
					}
				}
			case err := <-watcher.Errors: // events were lost: look
				log.Debug("changes in a directory were missed", "holds", w.what, "cause", err)
			}
			select {
			case reports <- struct{}{}:
			default:
			}
		}
	})
	return reports
}

func addDir(w *fsnotify.Watcher, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return w.Add(dir)
}
