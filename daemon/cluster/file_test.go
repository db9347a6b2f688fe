package cluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// watched runs the source in the background and hands over what it says.
type watched struct {
	t     *testing.T
	nodes chan []Node
	errs  chan error
}

func watchFile(t *testing.T, f File) watched {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	w := watched{t: t, nodes: make(chan []Node, 100), errs: make(chan error, 100)}
	done := make(chan error, 1)
	go func() {
		done <- f.Run(ctx, func(n []Node) { w.nodes <- n }, func(err error) { w.errs <- err })
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return w
}

const deadline = 5 * time.Second

func (w watched) wantNodes(names ...string) {
	w.t.Helper()
	select {
	case nodes := <-w.nodes:
		var got []string
		for _, n := range nodes {
			got = append(got, n.Name)
		}
		if diff := cmp.Diff(names, got); diff != "" {
			w.t.Fatalf("nodes (-want +got):\n%s", diff)
		}
	case <-time.After(deadline):
		w.t.Fatalf("nothing published, want %v", names)
	}
}

func (w watched) wantReport(bad bool) {
	w.t.Helper()
	select {
	case err := <-w.errs:
		if (err != nil) != bad {
			w.t.Fatalf("reported %v, want an error: %v", err, bad)
		}
	case <-time.After(deadline):
		w.t.Fatal("nothing reported")
	}
}

// wantSilence waits for several polls.
func (w watched) wantSilence(d time.Duration) {
	w.t.Helper()
	select {
	case n := <-w.nodes:
		w.t.Fatalf("published %v again", n)
	case err := <-w.errs:
		w.t.Fatalf("reported %v again", err)
	case <-time.After(d):
	}
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path+".new", []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

const (
	one = "nodes:\n- {name: n1, addresses: [192.168.1.11], podCIDRs: [10.244.1.0/24]}\n"
	two = one + "- {name: n2, addresses: [192.168.1.12], podCIDRs: [10.244.2.0/24]}\n"
)

func TestFileRenamedIntoPlaceIsPublished(t *testing.T) {
	path := filepath.Join(t.TempDir(), "nodes.yaml")
	write(t, path, one)
	w := watchFile(t, File{Path: path, Poll: time.Hour})
	w.wantNodes("n1")
	write(t, path, two)
	w.wantNodes("n1", "n2")
}

func TestFileWrittenInPlaceIsPublished(t *testing.T) {
	path := filepath.Join(t.TempDir(), "nodes.yaml")
	write(t, path, one)
	w := watchFile(t, File{Path: path, Poll: time.Hour})
	w.wantNodes("n1")
	if err := os.WriteFile(path, []byte(two), 0o644); err != nil {
		t.Fatal(err)
	}
	w.wantNodes("n1", "n2")
}

// A ConfigMap volume is a link to ..data/nodes.yaml, where ..data is a link to
// a directory of the current version that is replaced by rename.
func TestConfigMapSwapIsPublished(t *testing.T) {
	dir := t.TempDir()
	version := func(name, content string) {
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, name, "nodes.yaml"), content)
		if err := os.Symlink(name, filepath.Join(dir, "..data_tmp")); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")); err != nil {
			t.Fatal(err)
		}
	}
	version("..v1", one)
	path := filepath.Join(dir, "nodes.yaml")
	if err := os.Symlink("..data/nodes.yaml", path); err != nil {
		t.Fatal(err)
	}
	w := watchFile(t, File{Path: path, Poll: time.Hour})
	w.wantNodes("n1")
	version("..v2", two)
	w.wantNodes("n1", "n2")
}

func TestPollFindsWhatWasNotNotified(t *testing.T) {
	dir := t.TempDir()
	target := filepath.Join(t.TempDir(), "elsewhere.yaml")
	write(t, target, one)
	path := filepath.Join(dir, "nodes.yaml")
	if err := os.Symlink(target, path); err != nil {
		t.Fatal(err)
	}
	w := watchFile(t, File{Path: path, Poll: 20 * time.Millisecond})
	w.wantNodes("n1")
	write(t, target, two)
	w.wantNodes("n1", "n2")
}

func TestLastGoodListStandsAndTheReasonIsToldOnce(t *testing.T) {
	bad := map[string]func(t *testing.T, path string){
		"empty":     func(t *testing.T, path string) { write(t, path, "") },
		"damaged":   func(t *testing.T, path string) { write(t, path, "nodes: [") },
		"removed":   func(t *testing.T, path string) { _ = os.Remove(path) },
		"directory": func(t *testing.T, path string) { _ = os.Remove(path); _ = os.Mkdir(path, 0o755) },
		"pipe":      func(t *testing.T, path string) { _ = os.Remove(path); _ = syscall.Mkfifo(path, 0o644) },
	}
	for name, spoil := range bad {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "nodes.yaml")
			write(t, path, one)
			w := watchFile(t, File{Path: path, Poll: 20 * time.Millisecond})
			w.wantNodes("n1")
			spoil(t, path)
			w.wantReport(true)
			w.wantSilence(100 * time.Millisecond)
			_ = os.Remove(path)
			for range len(w.errs) { // the removal may be a reason of its own
				t.Log(<-w.errs)
			}
			write(t, path, two)
			for {
				select {
				case err := <-w.errs:
					if err != nil {
						continue
					}
				case <-time.After(deadline):
					t.Fatal("recovery was not reported")
				}
				break
			}
			w.wantNodes("n1", "n2")
		})
	}
}

func TestChangeIsSeenWhileOthersWriteToTheDirectory(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "nodes.yaml")
	write(t, path, one)
	w := watchFile(t, File{Path: path, Poll: time.Hour})
	w.wantNodes("n1")
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
				_ = os.WriteFile(filepath.Join(dir, "noise"), nil, 0o644)
			}
		}
	}()
	defer func() { close(stop); <-stopped }()
	write(t, path, two)
	w.wantNodes("n1", "n2")
}

func TestListOfTwentyThousandNodesIsReadInTime(t *testing.T) {
	var b strings.Builder
	b.WriteString("nodes:\n")
	const nodes = 20000
	for i := range nodes {
		fmt.Fprintf(&b, "- {name: n%d, addresses: [172.20.%d.%d], podCIDRs: [10.%d.%d.0/24]}\n", i, i>>8, i&255, i>>8, i&255)
	}
	path := filepath.Join(t.TempDir(), "nodes.yaml")
	write(t, path, b.String())
	start := time.Now()
	got, err := File{Path: path}.Load()
	if err != nil || len(got) != nodes {
		t.Fatalf("%d nodes, %v", len(got), err)
	}
	if took := time.Since(start); took > time.Minute {
		t.Errorf("it took %v", took)
	}
}

func TestFileThatAppearsLaterIsPublished(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sub", "nodes.yaml")
	w := watchFile(t, File{Path: path, Poll: 20 * time.Millisecond})
	w.wantReport(true)
	if err := os.Mkdir(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, path, one)
	w.wantReport(false)
	w.wantNodes("n1")
}

func TestRecallReturnsWhatWasRemembered(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state", "peers.json")
	if _, err := Recall(path); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("error %v, want one that wraps fs.ErrNotExist", err)
	}
	want, err := Parse([]byte(two))
	if err != nil {
		t.Fatal(err)
	}
	if err = Remember(path, want); err != nil {
		t.Fatal(err)
	}
	before, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if err = Remember(path, want); err != nil {
		t.Fatal(err)
	}
	after, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if !os.SameFile(before, after) {
		t.Error("the same nodes were written twice")
	}
	got, err := Recall(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, netipEqual()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestRecallRefusesDamage(t *testing.T) {
	for _, content := range []string{"", "{", `{"nodes":[]}`, `{"nodes":[{"name":"n1"}]}`, `{"nodes":[{"name":"n1","addresses":["x"],"podCIDRs":[]}]}`} {
		path := filepath.Join(t.TempDir(), "peers.json")
		write(t, path, content)
		if nodes, err := Recall(path); err == nil {
			t.Errorf("%q: recalled %v", content, nodes)
		}
	}
}
