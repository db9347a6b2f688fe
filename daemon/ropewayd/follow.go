package main

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"
	"sigs.k8s.io/yaml"

	"github.com/ropeway-net/ropeway/daemon/status"
)

const (
	// settle is how long a change of the file may be followed by another one
	// that belongs to it. The first half of a YAML file is often valid.
	settle = 100 * time.Millisecond
	// unsettled is how long changes may follow each other before the file is
	// read all the same: others may write to the directory without a pause.
	unsettled = 10 * settle
	// lookAgain is the time between two looks without a notification: a link
	// may lead out of the directory, and notifications have limits.
	lookAgain = 30 * time.Second
)

// configChanged ends the daemon's work with one configuration; the next life
// begins with the other.
type configChanged struct{ next Config }

func (configChanged) Error() string { return "the configuration has changed" }

// follower watches the configuration file. A change that is valid ends the
// life at hand; one that is not is told once and has no other effect.
type follower struct {
	path    string
	given   overrides
	running Config
	// refused could not be put to work; it is not tried again until it changes.
	refused *refusal
	log     *slog.Logger
	notify  func(status.Notice)

	mu        sync.Mutex
	rejection string
}

// refusal is a valid configuration with which the daemon could not begin.
type refusal struct {
	config Config
	cause  error
}

// rejected says why the file's present content is not in use, empty if it is.
func (f *follower) rejected() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.rejection
}

// run follows the file until ctx ends or apply is called. The directory is
// watched, so that a rename into place and the link swap by which Kubernetes
// updates a ConfigMap are seen.
func (f *follower) run(ctx context.Context, apply context.CancelCauseFunc) {
	var events <-chan fsnotify.Event
	var lost <-chan error
	watcher, err := fsnotify.NewWatcher()
	if err == nil {
		defer watcher.Close()
		err = watcher.Add(filepath.Dir(f.path))
		events, lost = watcher.Events, watcher.Errors
	}
	if err != nil {
		f.log.Warn("changes of the configuration are not notified, looking from time to time", "every", lookAgain, "cause", err.Error())
	}
	ticker := time.NewTicker(lookAgain)
	defer ticker.Stop()
	quiet := time.NewTimer(0) // it may have changed since it was loaded
	defer quiet.Stop()
	var latest time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case _, open := <-lost: // events were dropped: look
			if open {
				quiet.Reset(settle)
			}
			continue
		case <-events:
			if latest.IsZero() {
				latest = time.Now().Add(unsettled)
			}
			quiet.Reset(min(settle, time.Until(latest)))
			continue
		case <-ticker.C:
		case <-quiet.C:
			latest = time.Time{}
		}
		if next, changed := f.look(); changed {
			f.log.Info("configuration changed", "file", f.path, "keys", strings.Join(changedKeys(f.running, next), " "))
			apply(configChanged{next})
			return
		}
	}
}

// look reads the file and returns what to work with from now on.
func (f *follower) look() (Config, bool) {
	next, err := f.read()
	if err == nil && f.refused != nil && reflect.DeepEqual(next, f.refused.config) {
		err = f.refused.cause
	}
	f.tell(err)
	return next, err == nil && !reflect.DeepEqual(next, f.running)
}

// tell says each rejection once.
func (f *follower) tell(err error) {
	text := ""
	if err != nil {
		text = strings.ReplaceAll(err.Error(), "\n", "; ")
	}
	f.mu.Lock()
	before := f.rejection
	f.rejection = text
	f.mu.Unlock()
	switch {
	case text != "" && text != before:
		f.log.Error("configuration rejected, the running one stays", "cause", text)
		f.notify(status.Notice{Warning: true, Reason: status.ConfigRejected, Message: text + "; the running configuration stays"})
	case text == "" && before != "":
		f.log.Info("configuration is valid again", "file", f.path)
	}
}

// read returns what the file says. One without a single key may be a file that
// is just being written, and switches no node to the defaults. At start it does
// mean them.
func (f *follower) read() (Config, error) {
	b, err := readConfig(f.path)
	if err != nil {
		return Config{}, err
	}
	next, err := checkConfig(f.path, b, f.given)
	if err == nil && isBlank(b) && !reflect.DeepEqual(next, f.running) {
		err = fmt.Errorf("configuration %s has become empty; write {} into it if you want the defaults", f.path)
	}
	return next, err
}

// isBlank says whether valid YAML is nothing but space and comments.
func isBlank(b []byte) bool {
	var document any
	return yaml.Unmarshal(b, &document) == nil && document == nil
}

// changedKeys names the keys whose values differ.
func changedKeys(a, b Config) []string {
	var keys []string
	x, y := reflect.ValueOf(a), reflect.ValueOf(b)
	for i := range x.NumField() {
		if !reflect.DeepEqual(x.Field(i).Interface(), y.Field(i).Interface()) {
			key, _, _ := strings.Cut(x.Type().Field(i).Tag.Get("json"), ",")
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}
