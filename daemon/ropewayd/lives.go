package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"

	"sigs.k8s.io/yaml"

	"github.com/ropeway-net/ropeway/daemon/health"
	"github.com/ropeway-net/ropeway/daemon/status"
	"github.com/ropeway-net/ropeway/statedir"
)

// lives is what one life of the daemon hands on to the next. A life ends
// without the process when its state directory is gone, or when its
// configuration has changed.
type lives struct {
	path    string // of the configuration
	given   overrides
	metrics *health.Metrics
	// before is the configuration of the life before, until this one has
	// proved that it can work.
	before  *Config
	refused *refusal
}

// run is the daemon. It begins anew when its state directory is gone or its
// configuration has changed; the kernel stays as it is in between.
func run(ctx context.Context, path string, given overrides) error {
	l := &lives{path: path, given: given, metrics: health.NewMetrics(version)}
	cfg, err := l.first(os.Stderr)
	if err != nil {
		return err
	}
	for {
		err := serve(ctx, cfg, l)
		next, again := l.next(ctx, cfg, err)
		if !again {
			return err
		}
		cfg = next
	}
}

// first returns the configuration to begin with. A file that has become
// invalid while the daemon was away stops it no more than while it runs; the
// follower will say what is wrong with it.
func (l *lives) first(stderr io.Writer) (Config, error) {
	cfg, err := LoadConfig(l.path, l.given)
	if err == nil {
		return cfg, nil
	}
	last, from, recallErr := recallConfig(l.path, l.given)
	if recallErr != nil {
		return Config{}, err
	}
	fmt.Fprintf(stderr, "ropewayd: %v\nropewayd: going on with the configuration that worked last, %s\n", err, from)
	return last, nil
}

// next decides after a life that ended with err whether there is another one,
// and with which configuration.
func (l *lives) next(ctx context.Context, cfg Config, err error) (Config, bool) {
	var changed configChanged
	switch {
	case err == nil || ctx.Err() != nil:
		return Config{}, false
	case errors.As(err, &changed):
		l.before, l.refused = &cfg, nil
		return changed.next, true
	case errors.Is(err, errStateLost):
		return cfg, true
	case l.before != nil:
		back := *l.before
		l.before, l.refused = nil, &refusal{config: cfg, cause: err}
		return back, true
	default:
		return Config{}, false
	}
}

// passed takes note of a pass of the loop, by which the configuration proves
// itself.
func (l *lives) passed(cfg Config, log *slog.Logger) func(status.Report) {
	remembered := false
	return func(r status.Report) {
		l.metrics.Passed(r.Last)
		l.before = nil
		if r.Ready && !remembered {
			remembered = true
			if err := rememberConfig(cfg); err != nil {
				log.Warn("the configuration cannot be remembered", "cause", err.Error())
			}
		}
	}
}

// follower watches the configuration file for the life at hand.
func (l *lives) follower(cfg Config, log *slog.Logger, notify func(status.Notice)) *follower {
	if notify == nil {
		notify = func(status.Notice) {}
	}
	return &follower{path: l.path, given: l.given, running: cfg, refused: l.refused, log: log, notify: notify}
}

// rememberConfig keeps a configuration that works for [recallConfig].
func rememberConfig(cfg Config) error {
	b, err := json.MarshalIndent(cfg, "", "  ")
	if err != nil {
		return fmt.Errorf("encode configuration: %w", err)
	}
	b = append(b, '\n')
	path := cfg.StateDir.ConfigFile()
	if have, err := os.ReadFile(path); err == nil && bytes.Equal(have, b) {
		return nil
	}
	return statedir.WriteFile(path, b)
}

// recallConfig returns the configuration that was last remembered, and the
// name of its file, when the one at path can be read and is not valid. It is
// believed no more than any other, and may be from before the node had its name.
func recallConfig(path string, given overrides) (Config, string, error) {
	invalid, err := readConfig(path)
	if err != nil {
		return Config{}, "", err
	}
	where := struct {
		StateDir statedir.Dir `json:"stateDir"`
	}{statedir.DefaultDir}
	// Where even this cannot be read, the default directory may have it.
	_ = yaml.Unmarshal(invalid, &where)
	file := where.StateDir.ConfigFile()
	b, err := readConfig(file)
	if err != nil {
		return Config{}, "", err
	}
	cfg, err := checkConfig(file, b, given)
	return cfg, file, err
}
