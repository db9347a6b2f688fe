package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ropeway-net/ropeway/kernel"
	"github.com/ropeway-net/ropeway/statedir"
)

// testConfig has all its directories below a temporary one.
func testConfig(t *testing.T) Config {
	t.Helper()
	dir := t.TempDir()
	cfg := defaultConfig()
	cfg.Node, cfg.NodesFile = "n1", filepath.Join(dir, "nodes.yaml")
	cfg.StateDir = statedir.Dir(filepath.Join(dir, "state"))
	cfg.NetworksDir, cfg.CNIConfDir = filepath.Join(dir, "networks"), filepath.Join(dir, "net.d")
	nodes := `
nodes:
- {name: n1, addresses: [192.168.1.11], podCIDRs: [10.244.1.0/24]}
- {name: n2, addresses: [192.168.1.12], podCIDRs: [10.244.2.0/24]}
`
	if err := os.WriteFile(cfg.NodesFile, []byte(nodes), 0o600); err != nil {
		t.Fatal(err)
	}
	return cfg
}

func fakeNode() *kernel.Fake {
	return kernel.NewFake(kernel.Interface{Name: "eth0", MTU: 1500, Up: true, Addresses: []netip.Prefix{netip.MustParsePrefix("192.168.1.11/24")}})
}

func files(t *testing.T, dir string) []string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		out = append(out, path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestDryRunPrintsThePlanAndChangesNothing(t *testing.T) {
	cfg, fake := testConfig(t), fakeNode()
	dir := filepath.Dir(cfg.NodesFile)
	before, kernelBefore := files(t, dir), fake.String()
	var stdout, stderr strings.Builder
	if err := printPlan(t.Context(), cfg, fake, &stdout, &stderr); err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"ip link add name ropeway-vxlan", "ip route add 10.244.2.0/24 via 10.244.2.1", "nft -f -"} {
		if !strings.Contains(stdout.String(), part) {
			t.Errorf("plan does not say %q:\n%s", part, stdout.String())
		}
	}
	if !strings.Contains(stderr.String(), "node n2") {
		t.Errorf("diagnostics do not name the path: %s", stderr.String())
	}
	if diff := cmp.Diff(before, files(t, dir)); diff != "" {
		t.Errorf("files (-before +after):\n%s", diff)
	}
	if diff := cmp.Diff(kernelBefore, fake.String()); diff != "" {
		t.Errorf("kernel (-before +after):\n%s", diff)
	}
}

func TestSecondDaemonOnTheSameStateIsRefused(t *testing.T) {
	dir := statedir.Dir(filepath.Join(t.TempDir(), "state"))
	first, err := acquire(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err = acquire(dir); err == nil || !strings.Contains(err.Error(), string(dir)) || !strings.Contains(err.Error(), "runs already") {
		t.Errorf("error %v", err)
	}
	first.release()
	second, err := acquire(dir)
	if err != nil {
		t.Fatalf("after the first one ended: %v", err)
	}
	second.remove()
	if _, err := os.Stat(string(dir)); err == nil {
		t.Error("the state directory is still there")
	}
}

func TestLossOfTheStateDirectoryEndsTheWork(t *testing.T) {
	dir := statedir.Dir(filepath.Join(t.TempDir(), "state"))
	held, err := acquire(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer held.release()
	if !held.held() {
		t.Error("a fresh lock is not held")
	}
	if err := os.RemoveAll(string(dir)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	go watchLock(ctx, held, cancel)
	select {
	case <-ctx.Done():
	case <-time.After(10 * heldInterval):
	}
	if cause := context.Cause(ctx); !errors.Is(cause, errStateLost) {
		t.Errorf("cause %v", cause)
	}
	if again, err := acquire(dir); err != nil || !again.held() {
		t.Errorf("the next life cannot begin: %v", err)
	} else {
		again.release()
	}
}

func TestStateDirectoryThatCannotBeMadeIsNamed(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := acquire(statedir.Dir(file + "/state")); err == nil || !strings.Contains(err.Error(), file) || !strings.Contains(err.Error(), "stateDir") {
		t.Errorf("error %v", err)
	}
}

func TestLogGoesToStderrAndToTheFile(t *testing.T) {
	dir := statedir.Dir(t.TempDir())
	var stderr strings.Builder
	log, closer := openLog(&stderr, dir, 0)
	log.With("node", "n1").Info("hello", "peer", "n2")
	log.Debug("too fine")
	if err := closer.Close(); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(stderr.String(), "msg=hello node=n1 peer=n2") || strings.Contains(stderr.String(), "fine") {
		t.Errorf("stderr %q", stderr.String())
	}
	f, err := os.Open(filepath.Join(dir.Log(), "ropewayd.log"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for n := 0; lines.Scan(); n++ {
		var line map[string]any
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil || line["msg"] != "hello" || line["peer"] != "n2" || n > 0 {
			t.Errorf("line %d: %s (%v)", n, lines.Text(), err)
		}
	}
}

func TestLogReachesStderrWhenTheFileCannotBeWritten(t *testing.T) {
	dir := statedir.Dir(t.TempDir())
	if err := os.WriteFile(dir.Log(), nil, 0o600); err != nil { // where the directory belongs
		t.Fatal(err)
	}
	var stderr strings.Builder
	log, closer := openLog(&stderr, dir, 0)
	defer closer.Close()
	log.Info("hello")
	if !strings.Contains(stderr.String(), "hello") {
		t.Error("nothing on stderr")
	}
}

func TestMissingPrivilegeIsExplained(t *testing.T) {
	err := privilege(&fs.PathError{Op: "open", Path: "/proc/sys/net", Err: fs.ErrPermission})
	if !strings.Contains(err.Error(), "CAP_NET_ADMIN") {
		t.Errorf("error %v", err)
	}
}
