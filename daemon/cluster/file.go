package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
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

// patience is how long changes may follow each other before the file is read
// all the same: others may write to the directory without a pause.
const patience = 10 * settle

// mostBytes bounds what is read: a hundred thousand nodes are about 15 MB.
const mostBytes = 64 << 20

var _ Source = File{}

// Load reads the file once.
func (f File) Load() ([]Node, error) {
	b, err := f.content()
	if err != nil {
		return nil, err
	}
	return f.parse(b)
}

// content returns the file's bytes. The file is opened without waiting: a pipe
// would otherwise hold the daemon until somebody writes to it.
func (f File) content() ([]byte, error) {
	file, err := os.OpenFile(f.Path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("nodes file %s does not exist; create it or set nodesFile in the configuration", f.Path)
	}
	if err != nil {
		return nil, fmt.Errorf("nodes file cannot be read: %w; let ropewayd read it, or set nodesFile in the configuration", err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, fmt.Errorf("nodes file cannot be read: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("nodes file %s is a directory, pipe or device; put a file there or set nodesFile in the configuration", f.Path)
	}
	b, err := io.ReadAll(io.LimitReader(file, mostBytes+1))
	if err != nil {
		return nil, fmt.Errorf("nodes file cannot be read: %w", err)
	}
	if len(b) > mostBytes {
		return nil, fmt.Errorf("nodes file %s is larger than %d MB; it should hold a list of nodes", f.Path, mostBytes>>20)
	}
	return b, nil
}

func (f File) parse(b []byte) ([]Node, error) {
	nodes, err := Parse(b)
	if err != nil {
		return nil, fmt.Errorf("nodes file %s: %w", f.Path, err)
	}
	return nodes, nil
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
	var latest time.Time // by which changes must have been read; zero: there are none
	changed := func() {
		if latest.IsZero() {
			latest = time.Now().Add(patience)
		}
		quiet.Reset(min(settle, time.Until(latest)))
	}
	watch(watcher, filepath.Dir(f.Path))
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-events:
			changed()
		case _, open := <-lost: // events were dropped: look
			if open {
				changed()
			}
		case <-ticker.C:
			watch(watcher, filepath.Dir(f.Path))
			changed()
		case <-quiet.C:
			latest = time.Time{}
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
	bad       []byte // content of the last complaint, if it was about that
	published bool
	complaint string // last error told; "": none
}

// read parses only what is new: polling a list of thousands of nodes should
// cost nothing.
func (r *fileReader) read() {
	b, err := r.file.content()
	if err != nil {
		r.bad = nil
		r.complain(err)
		return
	}
	if r.published && bytes.Equal(b, r.last) {
		r.recovered()
		return
	}
	if r.bad != nil && bytes.Equal(b, r.bad) {
		return
	}
	nodes, err := r.file.parse(b)
	if err != nil {
		r.bad = b
		r.complain(err)
		return
	}
	r.recovered()
	r.published, r.last = true, b
	r.publish(nodes)
}

func (r *fileReader) complain(err error) {
	if err.Error() != r.complaint {
		r.complaint = err.Error()
		r.report(err)
	}
}

func (r *fileReader) recovered() {
	r.bad = nil
	if r.complaint != "" {
		r.complaint = ""
		r.report(nil)
	}
}
