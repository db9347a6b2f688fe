package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"sort"
	"strings"
	"testing"

	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"
	"github.com/containernetworking/cni/pkg/types/create"
	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/ropeway-net/ropeway/endpoint"
	"github.com/ropeway-net/ropeway/statedir"
)

// runAsPlugin makes the test binary behave as the plugin, so that tests go
// through environment, standard input, exit code and standard output.
const runAsPlugin = "ROPEWAY_TEST_RUN_AS_PLUGIN"

func TestMain(m *testing.M) {
	if os.Getenv(runAsPlugin) != "" {
		main()
		os.Exit(0)
	}
	if seed := os.Getenv(runMutants); seed != "" {
		os.Exit(mutantsMain(seed))
	}
	os.Exit(m.Run())
}

// newNetns makes a network namespace that lives until the test ends and
// returns its path.
func newNetns(t testing.TB) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("this test makes network namespaces: run it as root")
	}
	path := filepath.Join(t.TempDir(), "netns")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := makeNetns(path); err != nil {
		t.Fatalf("make a network namespace: %v", err)
	}
	t.Cleanup(func() { dropNetns(t, path) })
	return path
}

// makeNetns binds a new network namespace to a file.
func makeNetns(path string) error {
	result := make(chan error)
	go func() {
		runtime.LockOSThread() // the thread ends with the goroutine
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			err = unix.Mount("/proc/thread-self/ns/net", path, "", unix.MS_BIND, "")
		}
		result <- err
	}()
	return <-result
}

// dropNetns unmounts a namespace; one that is gone already is fine.
func dropNetns(t testing.TB, path string) {
	t.Helper()
	if err := unix.Unmount(path, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
		t.Errorf("unmount %s: %v", path, err)
	}
}

// in runs f on a thread in the namespace.
func in(t testing.TB, netns string, f func()) {
	t.Helper()
	fd, err := unix.Open(netns, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(fd) }()
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		err := unix.Setns(fd, unix.CLONE_NEWNET)
		if err == nil {
			f()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatalf("enter %s: %v", netns, err)
	}
}

// testNode is a node: a namespace and directories of its own.
type testNode struct {
	t        testing.TB
	netns    string
	state    statedir.Dir
	networks string
	cniPath  string
	wrapper  []string // command that runs the plugin; none as a rule
}

func newNode(t testing.TB) *testNode {
	t.Helper()
	n := &testNode{
		t: t, netns: newNetns(t),
		state: statedir.Dir(filepath.Join(t.TempDir(), "ropeway")), networks: filepath.Join(t.TempDir(), "networks"),
		cniPath: t.TempDir(),
	}
	in(t, n.netns, func() {
		lo, err := netlink.LinkByName("lo")
		if err == nil {
			err = netlink.LinkSetUp(lo)
		}
		if err != nil {
			t.Error(err)
		}
	})
	return n
}

// conf is the network configuration of a node without a daemon, changed by
// pairs of key and value; a nil value takes the key away.
func (n *testNode) conf(pairs ...any) string {
	n.t.Helper()
	c := map[string]any{
		"cniVersion": "1.1.0", "name": "demo", "type": "ropeway", "stateDir": string(n.state),
		"podCIDRs": []string{"10.99.0.0/24", "fd99::/64"},
		"ipam":     map[string]any{"type": "ropeway-ipam", "dataDir": n.networks},
	}
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] == nil {
			delete(c, pairs[i].(string))
			continue
		}
		c[pairs[i].(string)] = pairs[i+1]
	}
	b, err := json.Marshal(c)
	if err != nil {
		n.t.Fatal(err)
	}
	return string(b)
}

// call is one run of the plugin.
type call struct {
	verb, id, netns, ifName, args, conf string
}

// run executes the plugin in the node's namespace.
func (n *testNode) run(c call) ([]byte, *types.Error) {
	n.t.Helper()
	if c.ifName == "" {
		c.ifName = "eth0"
	}
	self, err := os.Executable()
	if err != nil {
		n.t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	in(n.t, n.netns, func() {
		argv := append(slices.Clone(n.wrapper), self)
		cmd := exec.Command(argv[0], argv[1:]...)
		// Under -race each process would wait a second before it ends.
		cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0", runAsPlugin+"=1", "CNI_COMMAND="+c.verb, "CNI_CONTAINERID="+c.id,
			"CNI_NETNS="+c.netns, "CNI_IFNAME="+c.ifName, "CNI_ARGS="+c.args, "CNI_PATH="+n.cniPath)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(c.conf), &stdout, &stderr
		err = cmd.Run()
	})
	if err == nil {
		return stdout.Bytes(), nil
	}
	var e types.Error
	if jsonErr := json.Unmarshal(stdout.Bytes(), &e); jsonErr != nil {
		n.t.Fatalf("%s failed (%v) and printed no error: %q %q", c.verb, err, stdout.String(), stderr.String())
	}
	return nil, &e
}

// add attaches and returns the result; it fails the test on an error.
func (n *testNode) add(c call) *types100.Result {
	n.t.Helper()
	c.verb = "ADD"
	out, e := n.run(c)
	if e != nil {
		n.t.Fatalf("ADD: code %d: %s", e.Code, e.Msg)
	}
	raw, err := create.CreateFromBytes(out)
	if err != nil {
		n.t.Fatalf("result %s: %v", out, err)
	}
	r, err := types100.NewResultFromResult(raw)
	if err != nil {
		n.t.Fatalf("result %s: %v", out, err)
	}
	return r
}

func (n *testNode) must(c call) {
	n.t.Helper()
	if _, e := n.run(c); e != nil {
		n.t.Fatalf("%s: code %d: %s", c.verb, e.Code, e.Msg)
	}
}

// wantError runs the plugin and wants a code and words of the message.
func (n *testNode) wantError(c call, code uint, words ...string) {
	n.t.Helper()
	out, e := n.run(c)
	if e == nil {
		n.t.Fatalf("%s succeeded: %s", c.verb, out)
	}
	if e.Code != code {
		n.t.Errorf("%s: code %d, want %d: %s", c.verb, e.Code, code, e.Msg)
	}
	for _, w := range words {
		if !strings.Contains(e.Msg+e.Details, w) {
			n.t.Errorf("%s: message %q does not say %q", c.verb, e.Msg+e.Details, w)
		}
	}
}

// traces are what the plugin holds on the node: files and kernel objects.
func (n *testNode) traces() []string {
	n.t.Helper()
	var found []string
	for _, dir := range []string{n.state.Endpoints(), filepath.Join(n.networks, "demo")} {
		entries, err := os.ReadDir(dir)
		if err != nil && !os.IsNotExist(err) {
			n.t.Error(err)
		}
		for _, e := range entries {
			switch name := e.Name(); {
			case name == "lock", name == "boot_id", strings.HasPrefix(name, "last_reserved_ip"):
			default:
				found = append(found, "file "+name)
			}
		}
	}
	return append(found, kernelTraces(n.t, n.netns)...)
}

// kernelTraces lists everything in a namespace beyond its loopback.
func kernelTraces(t testing.TB, netns string) []string {
	t.Helper()
	var found []string
	in(t, netns, func() {
		links, err := netlink.LinkList()
		if err != nil {
			t.Error(err)
		}
		for _, l := range links {
			if l.Attrs().Name != "lo" {
				found = append(found, "link "+l.Attrs().Name)
			}
		}
		routes, err := netlink.RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{}, netlink.RT_FILTER_TABLE)
		if err != nil {
			t.Error(err)
		}
		for _, r := range routes {
			if r.LinkIndex != 1 {
				found = append(found, "route "+r.String())
			}
		}
	})
	sort.Strings(found)
	return found
}

func (n *testNode) wantNothingLeft() {
	n.t.Helper()
	if diff := cmp.Diff([]string(nil), n.traces()); diff != "" {
		n.t.Errorf("something is left on the node (-want +got):\n%s", diff)
	}
}

func (n *testNode) record(id string) endpoint.Record {
	n.t.Helper()
	r, err := endpoint.Store{Dir: n.state.Endpoints()}.Read(id, "eth0")
	if err != nil {
		n.t.Fatal(err)
	}
	return r
}

// ip runs the ip command in a namespace.
func ip(t testing.TB, netns string, args ...string) string {
	t.Helper()
	return command(t, netns, "ip", args...)
}

func command(t testing.TB, netns, name string, args ...string) string {
	t.Helper()
	var out []byte
	var err error
	in(t, netns, func() { out, err = exec.Command(name, args...).CombinedOutput() })
	if err != nil {
		t.Fatal(fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, out))
	}
	return string(out)
}
