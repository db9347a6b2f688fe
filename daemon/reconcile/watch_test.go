package reconcile

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/ropeway-net/ropeway/statedir"
)

func TestDirectoryTellsOfFilesThatComeAndGo(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made", "by", "the", "watch")
	ctx, cancel := context.WithCancel(t.Context())
	var wait sync.WaitGroup
	defer wait.Wait()
	defer cancel()
	reports := watchDir(ctx, &wait, watched{dir: dir, what: "files", again: time.Hour}, slog.New(slog.DiscardHandler))
	if _, err := os.Stat(dir); err != nil {
		t.Fatal(err)
	}
	file, temporary := filepath.Join(dir, "record.json"), filepath.Join(dir, statedir.TempPrefix+"record.json")
	write := func(path string) error { return os.WriteFile(path, []byte("{}"), 0o600) }
	for _, step := range []struct {
		name string
		do   func() error
		told bool
	}{
		{"a file is written", func() error { return write(file) }, true},
		{"it is written over", func() error { return write(file) }, true},
		{"it may be read by all", func() error { return os.Chmod(file, 0o644) }, true},
		{"it is removed", func() error { return os.Remove(file) }, true},
		{"a temporary file is written", func() error { return write(temporary) }, false},
		{"it is linked into place", func() error { return os.Link(temporary, file) }, true},
		{"it is removed itself", func() error { return os.Remove(temporary) }, false},
		{"a file is renamed away", func() error { return os.Rename(file, file+".old") }, true},
		{"the directory is removed", func() error { return os.RemoveAll(dir) }, true},
		{"a file is written into the next one", func() error { return write(file) }, true},
		{"the directory is renamed", func() error { return os.Rename(dir, dir+".old") }, true},
		{"a file is written into the third", func() error { return write(file) }, true},
		{"a file is written into the one renamed", func() error { return write(filepath.Join(dir+".old", "record.json")) }, false},
	} {
		if err := retried(step.do); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		patience := 20 * time.Second
		if !step.told {
			patience = 10 * watchRest
		}
		select {
		case <-reports:
			if !step.told {
				t.Errorf("reported: %s", step.name)
			}
		case <-time.After(patience):
			if step.told {
				t.Fatalf("not reported: %s", step.name)
			}
		}
		settled(reports)
	}
}

func TestDirectoryThatComesAndGoesStaysWatched(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "watched")
	ctx, cancel := context.WithCancel(t.Context())
	var wait sync.WaitGroup
	defer wait.Wait()
	defer cancel()
	reports := watchDir(ctx, &wait, watched{dir: dir, what: "files", again: 10 * time.Millisecond}, slog.New(slog.DiscardHandler))
	for range 200 {
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
	}
	// A file in its place, which no watch can be put upon.
	if err := retried(func() error { return errors.Join(os.RemoveAll(dir), os.WriteFile(dir, nil, 0o600)) }); err != nil {
		t.Fatal(err)
	}
	time.Sleep(30 * time.Millisecond)
	if err := retried(func() error { return os.Remove(dir) }); err != nil {
		t.Fatal(err)
	}
	if err := retried(func() error { return os.WriteFile(filepath.Join(dir, "first.json"), nil, 0o600) }); err != nil {
		t.Fatal(err)
	}
	settled(reports)
	if err := os.WriteFile(filepath.Join(dir, "second.json"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	select {
	case <-reports:
	case <-time.After(20 * time.Second):
		t.Error("not watched any more")
	}
}

// retried is for a directory that the watch is about to make anew.
func retried(do func() error) (err error) {
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if err = do(); err == nil {
			return nil
		}
	}
	return err
}

// settled waits until nothing has been reported for a while.
func settled(reports <-chan struct{}) {
	for {
		select {
		case <-reports:
		case <-time.After(10 * watchRest):
			return
		}
	}
}
