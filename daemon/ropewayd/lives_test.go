package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ropeway-net/ropeway/daemon/health"
	"github.com/ropeway-net/ropeway/daemon/status"
	"github.com/ropeway-net/ropeway/daemon/topology"
)

func TestWhatEndsALifeDecidesAboutTheNext(t *testing.T) {
	old, changed := defaultConfig(), defaultConfig()
	changed.Mode = topology.Direct
	broken := errors.New("broken")
	tests := []struct {
		name   string
		before *Config
		err    error
		want   *Config // nil: the process ends
	}{
		{"told to stop", nil, nil, nil},
		{"cannot begin", nil, broken, nil},
		{"state lost", nil, errStateLost, &old},
		{"configuration changed", nil, fmt.Errorf("x: %w", configChanged{changed}), &changed},
		{"the changed one cannot begin", &changed, broken, &changed},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			l := &lives{before: tc.before}
			next, again := l.next(t.Context(), old, tc.err)
			if again != (tc.want != nil) {
				t.Fatalf("again %t", again)
			}
			if tc.want == nil {
				return
			}
			if diff := cmp.Diff(*tc.want, next); diff != "" {
				t.Errorf("next (-want +got):\n%s", diff)
			}
		})
	}
}

func TestLifeThatHasWorkedDoesNotGoBack(t *testing.T) {
	cfg := testConfig(t)
	l := &lives{metrics: health.NewMetrics("v0")}
	if _, again := l.next(t.Context(), defaultConfig(), configChanged{cfg}); !again {
		t.Fatal("no next life")
	}
	l.passed(cfg, slog.New(slog.DiscardHandler))(status.Report{})
	if _, again := l.next(t.Context(), cfg, errors.New("broken")); again {
		t.Error("an error after work goes back to the configuration before")
	}
}

func TestConfigurationThatWorkedStandsInForAnInvalidOne(t *testing.T) {
	cfg := testConfig(t)
	path := filepath.Join(filepath.Dir(cfg.NodesFile), "ropewayd.yaml")
	write := func(content string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	l := &lives{path: path, metrics: health.NewMetrics("v0")}
	var stderr strings.Builder
	write("moed: direct\nstateDir: " + string(cfg.StateDir) + "\n")
	if _, err := l.first(&stderr); err == nil || !strings.Contains(err.Error(), `"moed"`) {
		t.Errorf("nothing is remembered yet: error %v", err)
	}
	l.passed(cfg, slog.New(slog.DiscardHandler))(status.Report{Ready: true})
	got, err := l.first(&stderr)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(cfg, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if !strings.Contains(stderr.String(), `"moed"`) || !strings.Contains(stderr.String(), cfg.StateDir.ConfigFile()) {
		t.Errorf("stderr %q", stderr.String())
	}
	l.given.node = "renamed"
	if got, err = l.first(&stderr); err != nil || got.Node != "renamed" {
		t.Errorf("node %q, %v: the command line says renamed", got.Node, err)
	}
	if err := os.WriteFile(cfg.StateDir.ConfigFile(), []byte("mode: x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := l.first(&stderr); err == nil || !strings.Contains(err.Error(), `"moed"`) {
		t.Errorf("a damaged memory is believed: error %v", err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if _, err := l.first(&stderr); err == nil || !strings.Contains(err.Error(), "--config") {
		t.Errorf("a file that is not there: error %v", err)
	}
}
