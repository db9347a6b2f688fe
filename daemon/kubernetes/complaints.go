package kubernetes

import (
	"context"
	"errors"
	"log/slog"
	"sync"

	"k8s.io/klog/v2"
)

// about is what a complaint is about.
type about int

const (
	aboutFiles      about = iota // kubeconfig and what it names
	aboutConnection              // list and watch
	abouts
)

// complaints tells what is wrong when that changes, and nil when all is well.
type complaints struct {
	report func(error)

	mu      sync.Mutex
	current [abouts]error
	told    string
}

func (c *complaints) set(what about, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.current[what] = err
	all := errors.Join(c.current[:]...)
	text := ""
	if all != nil {
		text = all.Error()
	}
	if text != c.told {
		c.told = text
		c.report(all)
	}
}

// quiet lets the library's log through when details are asked for: what
// matters of it is told by us, once and with a remedy.
type quiet struct{ slog.Handler }

func (q quiet) Enabled(ctx context.Context, _ slog.Level) bool {
	return q.Handler.Enabled(ctx, slog.LevelDebug)
}

func (q quiet) Handle(ctx context.Context, r slog.Record) error {
	r.Level = slog.LevelDebug
	return q.Handler.Handle(ctx, r)
}

func (q quiet) WithAttrs(attrs []slog.Attr) slog.Handler { return quiet{q.Handler.WithAttrs(attrs)} }
func (q quiet) WithGroup(name string) slog.Handler       { return quiet{q.Handler.WithGroup(name)} }

// QuietLibrary ends client-go's global log, which goes to stderr in a form of
// its own; what belongs to a request is in Config.Log. It is for main, before
// the first [API.Run].
func QuietLibrary() { klog.SetSlogLogger(slog.New(slog.DiscardHandler)) }
