package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"

	"gopkg.in/natefinch/lumberjack.v2"

	"github.com/ropeway-net/ropeway/statedir"
)

// Sizes of the log: at most about 50 MB on disk.
const (
	logMegabytes = 10
	logBackups   = 4
)

func parseLevel(text string) (slog.Level, error) {
	levels := []string{"debug", "info", "warn", "error"}
	var level slog.Level
	if !slices.Contains(levels, text) {
		return level, fmt.Errorf("logLevel %q is unknown; use one of %s", text, strings.Join(levels, " "))
	}
	return level, level.UnmarshalText([]byte(text))
}

// openLog logs as text to stderr and as JSON to a rotated file. The file is
// made by the first line.
func openLog(stderr io.Writer, dir statedir.Dir, level slog.Level) (*slog.Logger, io.Closer) {
	file := &lumberjack.Logger{
		Filename:   filepath.Join(dir.Log(), "ropewayd.log"),
		MaxSize:    logMegabytes,
		MaxBackups: logBackups,
		Compress:   true,
	}
	options := &slog.HandlerOptions{Level: level}
	return slog.New(both{slog.NewTextHandler(stderr, options), slog.NewJSONHandler(file, options)}), file
}

// both hands each record to two handlers. A file that cannot be written, as on
// a full disk, keeps nothing from reaching stderr.
type both struct {
	first, second slog.Handler
}

func (b both) Enabled(ctx context.Context, level slog.Level) bool {
	return b.first.Enabled(ctx, level) || b.second.Enabled(ctx, level)
}

func (b both) Handle(ctx context.Context, r slog.Record) error {
	return errors.Join(b.first.Handle(ctx, r.Clone()), b.second.Handle(ctx, r))
}

func (b both) WithAttrs(attrs []slog.Attr) slog.Handler {
	return both{b.first.WithAttrs(attrs), b.second.WithAttrs(attrs)}
}

func (b both) WithGroup(name string) slog.Handler {
	return both{b.first.WithGroup(name), b.second.WithGroup(name)}
}
