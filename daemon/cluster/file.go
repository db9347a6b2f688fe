package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/fsnotify/fsnotify"
)

// File is a [Source] that reads the nodes from a file in the form of [Parse]
// and watches it.
type File struct {
	Path string
	// Poll is the time after which the file is read even though no change
	// was notified; 0 is ten seconds. It covers file systems without
	// notification and links that point out of the directory.
	Poll time.Duration
}

// settle is how long a change may be followed by another one that belongs to
// it, as when an editor truncates a file and then writes it.
const settle = 10 * time.Millisecond

var _ Source = File{}

// Load reads the file once.
func (f File) Load() ([]Node, error) {
	nodes, _, err := f.load()
	return nodes, err
}

func (f File) load() ([]Node, []byte, error) {
	b, err := os.ReadFile(f.Path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil, fmt.Errorf("nodes file %s does not exist; create it or set nodesFile in the configuration", f.Path)
	case err != nil:
		return nil, nil, fmt.Errorf("nodes file cannot be read: %w", err)
	}
	nodes, err := Parse(b)
	if err != nil {
		return nil, b, fmt.Errorf("nodes file %s: %w", f.Path, err)
	}
	return nodes, b, nil
}

// Run implements [Source]. The directory is watched, not the file, so that a
// file that is renamed into place and the link swap by which Kubernetes
// updates a ConfigMap are seen.
func (f File) Run(ctx context.Context, publish func([]Node), report func(error)) error {
	poll := f.Poll
	if poll == 0 {
		poll = 10 * time.Second
	}
	// Without a watch (inotify has limits) polling still finds every change.
	var events <-chan fsnotify.Event
	var lost <-chan error
	watcher, err := fsnotify.NewWatcher()
	if err == nil {
		defer watcher.Close()
		events, lost = watcher.Events, watcher.Errors
	}
	reader := fileReader{file: f, publish: publish, report: report}
	ticker := time.NewTicker(poll)
	defer ticker.Stop()
	quiet := time.NewTimer(0) // the first reading is due at once
	defer quiet.Stop()
	watch(watcher, filepath.Dir(f.Path))
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-events:
			quiet.Reset(settle)
		case _, open := <-lost: // events were dropped: look
			if open {
				quiet.Reset(settle)
			}
		case <-ticker.C:
			watch(watcher, filepath.Dir(f.Path))
			quiet.Reset(0)
		case <-quiet.C:
			reader.read()
		}
	}
}

// watch adds dir unless it is watched already. It may not exist yet or have
// been replaced; the next poll tries again.
func watch(w *fsnotify.Watcher, dir string) {
	if w != nil && !slices.Contains(w.WatchList(), dir) {
		_ = w.Add(dir)
	}
}

// fileReader publishes changes of the file's content, and tells each state of
// being wrong once.
type fileReader struct {
	file    File
	publish func([]Node)
	report  func(error)

	last      []byte // content that was published
	published bool
	complaint string // last error told; "": none
}

func (r *fileReader) read() {
	nodes, b, err := r.file.load()
	if err != nil {
		if err.Error() != r.complaint {
			r.complaint = err.Error()
			r.report(err)
		}
		return
	}
	if r.complaint != "" {
		r.complaint = ""
		r.report(nil)
	}
	if r.published && bytes.Equal(b, r.last) {
		return
	}
	r.published, r.last = true, b
	r.publish(nodes)
}
