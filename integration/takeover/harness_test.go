package takeover

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

const (
	ourModule       = "github.com/ropeway-net/ropeway"
	referenceModule = "github.com/containernetworking/plugins"
)

// binDir is where the plugins are, built once.
var binDir string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "takeover-*")
	if err != nil {
		panic(err)
	}
	binDir = dir
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// plugins builds our plugins and the pinned reference plugins, once for all
// tests.
var plugins = sync.OnceValue(func() error {
	for dir, packages := range map[string][]string{
		".": {ourModule + "/plugins/ropeway", ourModule + "/plugins/ropeway-ipam"},
		"../bench/reference": {
			referenceModule + "/plugins/ipam/host-local", referenceModule + "/plugins/main/ptp", referenceModule + "/plugins/main/bridge",
		},
	} {
		cmd := exec.Command("go", append([]string{"build", "-trimpath", "-ldflags=-s -w", "-o", binDir + "/"}, packages...)...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off")
		if out, err := cmd.CombinedOutput(); err != nil {
			return errors.New(err.Error() + ": " + string(out))
		}
	}
	return nil
})

// node runs plugins as a runtime does, with directories of its own.
type node struct {
	t        *testing.T
	netns    string // empty: the test's own, for plugins that touch no kernel
	networks string
	state    string
}

func newNode(t *testing.T) *node {
	t.Helper()
	if err := plugins(); err != nil {
		t.Fatal(err)
	}
	return &node{t: t, networks: t.TempDir(), state: t.TempDir()}
}

// call is one run of a plugin.
type call struct {
	plugin, verb, id, netns string
	conf                    map[string]any
}

// answer is the result of an ADD, or an error.
type answer struct {
	IPs []struct {
		Address netip.Prefix `json:"address"`
	} `json:"ips"`
	Code uint   `json:"code"`
	Msg  string `json:"msg"`
	raw  json.RawMessage
}

func (a answer) addresses() []string {
	var all []string
	for _, ip := range a.IPs {
		all = append(all, ip.Address.Addr().String())
	}
	return all
}

func (n *node) run(c call) (answer, error) {
	n.t.Helper()
	stdin, err := json.Marshal(c.conf)
	if err != nil {
		n.t.Fatal(err)
	}
	if c.netns == "" && (c.verb == "ADD" || c.verb == "CHECK") {
		c.netns = "/nonexistent/netns" // an allocator never enters it
	}
	cmd := exec.CommandContext(n.t.Context(), filepath.Join(binDir, c.plugin))
	cmd.Env = append(os.Environ(), "CNI_COMMAND="+c.verb, "CNI_CONTAINERID="+c.id, "CNI_NETNS="+c.netns, "CNI_IFNAME=eth0", "CNI_PATH="+binDir)
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(stdin), &stdout, &stderr
	in(n.t, n.netns, func() { err = cmd.Run() })
	var a answer
	if stdout.Len() > 0 {
		if jsonErr := json.Unmarshal(stdout.Bytes(), &a); jsonErr != nil {
			n.t.Fatalf("%s %s printed %q (%s)", c.plugin, c.verb, stdout.String(), stderr.String())
		}
		a.raw = stdout.Bytes()
	}
	return a, err
}

// must runs a verb that has to succeed.
func (n *node) must(c call) answer {
	n.t.Helper()
	a, err := n.run(c)
	if err != nil {
		n.t.Fatalf("%s %s of %s: %v: code %d: %s", c.plugin, c.verb, c.id, err, a.Code, a.Msg)
	}
	return a
}

// reservations are the addresses that the network's directory holds.
func (n *node) reservations() []string {
	n.t.Helper()
	entries, err := os.ReadDir(filepath.Join(n.networks, "net"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		n.t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		if _, err := netip.ParseAddr(e.Name()); err == nil || strings.HasPrefix(e.Name(), ".tmp-") {
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	return names
}

// put writes a file into the network's directory.
func (n *node) put(name, content string) {
	n.t.Helper()
	dir := filepath.Join(n.networks, "net")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		n.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
		n.t.Fatal(err)
	}
}

// newNetns makes a network namespace that lives until the test ends, or until
// it is dropped.
func newNetns(t *testing.T) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("this test makes network namespaces: run it as root")
	}
	path := filepath.Join(t.TempDir(), "netns")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	onThread(t, func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return err
		}
		return unix.Mount("/proc/thread-self/ns/net", path, "", unix.MS_BIND, "")
	})
	t.Cleanup(func() { dropNetns(t, path) })
	return path
}

func dropNetns(t *testing.T, path string) {
	t.Helper()
	if err := unix.Unmount(path, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
		t.Errorf("unmount %s: %v", path, err)
	}
}

// in runs f on a thread in the namespace.
func in(t *testing.T, netns string, f func()) {
	t.Helper()
	if netns == "" {
		f()
		return
	}
	onThread(t, func() error {
		fd, err := unix.Open(netns, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		err = unix.Setns(fd, unix.CLONE_NEWNET)
		_ = unix.Close(fd)
		if err == nil {
			f()
		}
		return err
	})
}

// onThread runs f on a thread that ends with it. The process's first thread
// never ends, and would keep a namespace alive.
func onThread(t *testing.T, f func() error) {
	t.Helper()
	done := make(chan error)
	var run func()
	run = func() {
		runtime.LockOSThread()
		if unix.Gettid() != unix.Getpid() {
			done <- f()
			return
		}
		defer runtime.UnlockOSThread()
		other := make(chan struct{})
		go func() {
			defer close(other)
			run()
		}()
		<-other
	}
	go run()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func command(t *testing.T, netns string, argv ...string) string {
	t.Helper()
	var out []byte
	var err error
	in(t, netns, func() { out, err = exec.CommandContext(t.Context(), argv[0], argv[1:]...).CombinedOutput() })
	if err != nil {
		t.Fatalf("%s: %v: %s", strings.Join(argv, " "), err, out)
	}
	return string(out)
}
