package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/ropeway-net/ropeway/daemon/status"
	"github.com/ropeway-net/ropeway/daemon/topology"
)

func TestMain(m *testing.M) {
	// Closing a lumberjack.Logger does not end the goroutine that renames its files.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("gopkg.in/natefinch/lumberjack%2ev2.(*Logger).millRun"))
}

// patience is how long a test waits for what must come true.
const patience = 10 * time.Second

// following is a follower at work on a file laid out as the kubelet mounts a
// ConfigMap: a link to a link to a directory, which is what gets exchanged.
type following struct {
	t    *testing.T
	dir  string
	path string
	*follower
	ctx context.Context

	mu      sync.Mutex
	notices []status.Notice
	version int
}

func follow(t *testing.T, content string) *following {
	t.Helper()
	f := &following{t: t, dir: t.TempDir()}
	f.path = filepath.Join(f.dir, "ropewayd.yaml")
	f.mount(content)
	if err := os.Symlink(filepath.Join("..data", "ropewayd.yaml"), f.path); err != nil {
		t.Fatal(err)
	}
	running, err := LoadConfig(f.path, overrides{})
	if err != nil {
		t.Fatal(err)
	}
	f.follower = &follower{path: f.path, running: running, log: slog.New(slog.NewTextHandler(t.Output(), nil)), notify: func(n status.Notice) {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.notices = append(f.notices, n)
	}}
	return f
}

// start begins to follow and returns the function that ends it.
func (f *following) start() {
	ctx, cancel := context.WithCancelCause(f.t.Context())
	f.ctx = ctx
	done := make(chan struct{})
	go func() { f.run(ctx, cancel); close(done) }()
	f.t.Cleanup(func() { cancel(nil); <-done })
}

// mount exchanges the content as the kubelet does.
func (f *following) mount(content string) {
	f.t.Helper()
	f.version++
	data := filepath.Join(f.dir, "..version"+strings.Repeat("i", f.version))
	link := filepath.Join(f.dir, "..data_tmp")
	if err := errors.Join(
		os.Mkdir(data, 0o755),
		os.WriteFile(filepath.Join(data, "ropewayd.yaml"), []byte(content), 0o600),
		os.Symlink(filepath.Base(data), link),
		os.Rename(link, filepath.Join(f.dir, "..data")),
	); err != nil {
		f.t.Fatal(err)
	}
}

func (f *following) until(what string, holds func() bool) {
	f.t.Helper()
	for end := time.Now().Add(patience); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			f.t.Fatalf("%s did not come true; rejected %q, cause %v", what, f.rejected(), context.Cause(f.ctx))
		}
	}
}

func (f *following) told() []status.Notice {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]status.Notice(nil), f.notices...)
}

func TestChangeOfAConfigMapIsApplied(t *testing.T) {
	f := follow(t, "node: n1\n")
	f.start()
	f.mount("node: n1\nmode: direct\nmtu: 1400\n")
	f.until("the end of the life", func() bool { return f.ctx.Err() != nil })
	var changed configChanged
	if !errors.As(context.Cause(f.ctx), &changed) {
		t.Fatalf("cause %v", context.Cause(f.ctx))
	}
	if changed.next.Mode != topology.Direct || changed.next.MTU != 1400 {
		t.Errorf("next %+v", changed.next)
	}
	if diff := cmp.Diff([]string{"mode", "mtu"}, changedKeys(f.running, changed.next)); diff != "" {
		t.Errorf("changed keys (-want +got):\n%s", diff)
	}
}

func TestChangeBeforeTheWatchIsApplied(t *testing.T) {
	f := follow(t, "node: n1\n")
	f.mount("node: n1\nmode: direct\n")
	f.start()
	f.until("the end of the life", func() bool { return f.ctx.Err() != nil })
}

func TestInvalidConfigurationIsToldOnceAndNothingElse(t *testing.T) {
	for name, content := range map[string]string{
		"unknown key": "node: n1\nmoed: direct\n",
		"bad value":   "node: n1\nmode: wireguard\n",
		"no YAML":     "node: [\n",
		"empty":       "",
		"blank":       "\n  \n",
		"comments":    "# Ropeway on this node\n---\n",
		"too large":   "node: n1\n#" + strings.Repeat("x", mostConfigBytes),
	} {
		t.Run(name, func(t *testing.T) {
			f := follow(t, "node: n1\n")
			f.start()
			f.mount(content)
			f.until("the rejection", func() bool { return f.rejected() != "" })
			if !strings.Contains(f.rejected(), f.path) || strings.Contains(f.rejected(), "\n") {
				t.Errorf("rejection %q does not name the file on one line", f.rejected())
			}
			f.mount(content + "\n# more\n" + strings.Repeat(" ", len(content)))
			f.mount("node: n1\n# as it was\n")
			f.until("the end of the rejection", func() bool { return f.rejected() == "" })
			if f.ctx.Err() != nil {
				t.Errorf("the life ended: %v", context.Cause(f.ctx))
			}
			told := f.told()
			if len(told) == 0 || told[0].Reason != status.ConfigRejected || !told[0].Warning {
				t.Errorf("notices %+v", told)
			}
		})
	}
}

func TestFileThatIsWrittenInPlaceIsNeverTakenForTheDefaults(t *testing.T) {
	f := follow(t, "node: n1\nmode: direct\n")
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
			}
			if err := os.WriteFile(f.path, []byte("node: n1\nmode: direct\n"), 0o600); err != nil {
				t.Error(err)
				return
			}
		}
	}()
	defer func() { close(stop); <-stopped }()
	for range 5000 {
		if next, changed := f.look(); changed {
			t.Fatalf("the daemon would go on in mode %s", next.Mode)
		}
	}
}

func TestSameRejectionIsToldOnce(t *testing.T) {
	f := follow(t, "node: n1\n")
	f.mount("node: n1\nmode: wireguard\n")
	for range 3 {
		if _, changed := f.look(); changed {
			t.Error("an invalid configuration is applied")
		}
	}
	if n := len(f.told()); n != 1 {
		t.Errorf("%d notices", n)
	}
}

func TestFileThatIsGoneOrNoFileKeepsTheRunningConfiguration(t *testing.T) {
	f := follow(t, "node: n1\n")
	for _, make := range []func(string) error{
		func(string) error { return nil },
		func(path string) error { return syscall.Mkfifo(path, 0o600) },
		func(path string) error { return os.Mkdir(path, 0o700) },
	} {
		if err := errors.Join(os.RemoveAll(f.path), make(f.path)); err != nil {
			t.Fatal(err)
		}
		if _, changed := f.look(); changed || f.rejected() == "" {
			t.Errorf("changed %t, rejected %q", changed, f.rejected())
		}
	}
}

func TestConfigurationThatCouldNotBeginIsNotTriedAgain(t *testing.T) {
	f := follow(t, "node: n1\n")
	f.mount("node: n1\nstateDir: /proc/none\n")
	refused, err := LoadConfig(f.path, overrides{})
	if err != nil {
		t.Fatal(err)
	}
	f.refused = &refusal{config: refused, cause: errors.New("state directory: no")}
	if _, changed := f.look(); changed || f.rejected() != "state directory: no" {
		t.Errorf("changed %t, rejected %q", changed, f.rejected())
	}
	f.mount("node: n1\nstateDir: /proc/other\n")
	if _, changed := f.look(); !changed {
		t.Error("another one is not tried")
	}
}
