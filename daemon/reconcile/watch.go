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

// watchDir reports changes of the files in dir, which it creates. Where the
// directory cannot be watched the loop still sees pods by their links.
func watchDir(ctx context.Context, wait *sync.WaitGroup, dir string, log *slog.Logger) <-chan struct{} {
	reports := make(chan struct{}, 1)
	watcher, err := fsnotify.NewWatcher()
	if err == nil {
		err = addDir(watcher, dir)
	}
	if err != nil {
		log.Warn("endpoint records cannot be watched, changes are seen by the pods' links", "cause", err.Error())
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
						log.Warn("endpoint records cannot be watched any more", "cause", err.Error())
					}
				}
			case err := <-watcher.Errors: // events were lost: look
				log.Debug("changes of endpoint records were missed", "cause", err)
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
