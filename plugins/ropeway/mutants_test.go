package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/containernetworking/cni/pkg/version"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/ropeway-net/ropeway/plugins/protocol"
)

const (
	// runMutants makes the test binary try mutated documents on itself, with
	// this seed and number.
	runMutants = "ROPEWAY_TEST_RUN_MUTANTS"
	mutants    = 10_000
	// executed of them are tried on a process of the plugin's own.
	executed = 100
	jail     = "/run" // the one place where a mutant can write
)

// documents are what runtimes send, with which mutation begins.
func documents() []string {
	const ours = `"type":"ropeway","stateDir":"/run/ropeway","podCIDRs":["10.99.0.0/24","fd99::/64"],"ipam":{"type":"ropeway-ipam","dataDir":"/run/networks"}`
	const result = `"prevResult":{"cniVersion":"1.0.0","interfaces":[{"name":"rwp0123456789ab","mac":"02:72:6f:70:77:79"},{"name":"eth0","mac":"02:00:00:00:00:01","mtu":1500,"sandbox":"/run/pod"}],
		"ips":[{"address":"10.99.0.2/32","gateway":"169.254.1.1","interface":1}],"routes":[{"dst":"0.0.0.0/0","gw":"169.254.1.1"}],"dns":{}}`
	return []string{
		`{"cniVersion":"1.1.0","name":"demo",` + ours + `}`,
		`{"cniVersion":"1.0.0","name":"demo",` + ours + `,` + result + `}`,
		`{"cniVersion":"0.4.0","name":"demo",` + ours + `,"prevResult":{"cniVersion":"0.4.0","ips":[{"version":"4","address":"10.99.0.2/32"}]}}`,
		`{"cniVersion":"0.3.1","name":"demo",` + ours + `,"args":{"cni":{"ips":["10.99.0.9"],"mac":"02:00:00:00:00:09","labels":[{"key":"a","value":"b"}]}}}`,
		`{"cniVersion":"1.1.0","name":"demo",` + ours + `,"cni.dev/valid-attachments":[{"containerID":"c1","ifname":"eth0"}],"cni.dev/attachments":[{"containerID":"c1","ifname":"eth0"}]}`,
		`{"cniVersion":"1.1.0","name":"demo",` + ours + `,"mtu":1400,"dns":{"nameservers":["10.0.0.10"],"domain":"x","search":["y"],"options":["z"]},
			"capabilities":{"portMappings":true,"dns":true},"runtimeConfig":{"PortMappings":[{"HostPort":8080,"ContainerPort":80,"Protocol":"tcp","HostIP":""}],
			"DNS":{"Servers":["10.0.0.10"],"Searches":["a"],"Options":["ndots:5"]},"bandwidth":{"ingressRate":1000000,"ingressBurst":100000},"cgroupPath":"/kubepods/x",
			"io.kubernetes.cri.pod-annotations":{"a":"b"},"IPRanges":[[{"Subnet":"10.88.0.0/24","RangeStart":"10.88.0.10","RangeEnd":"10.88.0.20","Gateway":"10.88.0.1"}]],"aliases":["web"],"mac":"02:00:00:00:00:07","ips":["10.88.0.11/24"]}}`,
		`{"cniVersion":"1.0.0","name":"demo","type":"ropeway","stateDir":"/run/ropeway","mtu":1400,"ipam":{"type":"host-local","ranges":[[{"subnet":"10.1.0.0/24"}]]}}`,
		`{"cniVersion":"1.1.0","name":"demo","type":"ropeway","stateDir":"/run/ropeway","ipam":{"type":"ropeway-ipam","dataDir":"/run/networks","ranges":[[{"subnet":"10.1.0.0/24","gateway":"10.1.0.1"}],[{"subnet":"fd01::/64"}]],"routes":[{"dst":"10.0.0.0/8","gw":"10.1.0.9"}],"resolvConf":"/etc/resolv.conf"}}`,
	}
}

// TestMutatedDocumentsGetAnErrorInJSONOrAreCarriedOut runs in a process of its
// own, in namespaces of its own: a mutant may name any directory.
func TestMutatedDocumentsGetAnErrorInJSONOrAreCarriedOut(t *testing.T) {
	seed := rand.Uint64()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self)
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d", runMutants, seed))
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWNET}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("seed %d: %v\n%s", seed, err, out)
	}
}

// mutantsMain is the process that tries mutants; it returns an exit code.
func mutantsMain(seed string) int {
	n, err := strconv.ParseUint(seed, 10, 64)
	if err == nil {
		err = enterJail()
	}
	if err == nil {
		m := &mutator{Rand: rand.New(rand.NewPCG(n, n))}
		err = m.tryAll()
	}
	if err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
}

// enterJail leaves /run, /tmp and /var to be written to, each empty, and makes a
// pod.
func enterJail() error {
	steps := []error{
		unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, ""),
		unix.Mount("tmpfs", "/tmp", "tmpfs", 0, ""), unix.Mount("tmpfs", "/var", "tmpfs", 0, ""),
		unix.Mount("tmpfs", jail, "tmpfs", 0, ""),
		unix.Mount("", "/", "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""),
		os.WriteFile(filepath.Join(jail, "pod"), nil, 0o600), os.WriteFile(filepath.Join(jail, "file"), nil, 0o600),
	}
	if err := errors.Join(steps...); err != nil {
		return fmt.Errorf("a place where nothing can be harmed: %w", err)
	}
	return makeNetns(filepath.Join(jail, "pod"))
}

// mutator makes documents, environments and verbs up.
type mutator struct {
	*rand.Rand
	failures []string
}

// tryAll tries mutants until some failed. In the end nothing must be left.
func (m *mutator) tryAll() error {
	carriedOut := 0
	for i := range mutants {
		c := m.call()
		exit, stdout := m.run(c, i%(mutants/executed) == 0)
		if exit == 0 && c.verb == "ADD" {
			carriedOut++
			c.verb, c.conf = "DEL", documents()[0]
			if again, said := m.run(c, false); again != 0 {
				m.failures = append(m.failures, fmt.Sprintf("DEL after ADD: %s", said))
			}
		}
		m.judge(c, exit, stdout)
		if len(m.failures) > 3 {
			break
		}
	}
	if carriedOut == 0 {
		m.failures = append(m.failures, "no ADD succeeded: the mutants are too mutated")
	}
	m.run(call{verb: "GC", conf: strings.TrimSuffix(documents()[0], "}") + `,"cni.dev/valid-attachments":[]}`}, false)
	links, err := netlink.LinkList()
	for _, l := range links {
		if l.Attrs().Name != "lo" {
			m.failures = append(m.failures, "left: link "+l.Attrs().Name)
		}
	}
	if err == nil && len(m.failures) > 0 {
		err = errors.New(strings.Join(m.failures, "\n"))
	}
	return err
}

func (m *mutator) call() call {
	return call{
		verb:   pick(m, "ADD", "ADD", "DEL", "CHECK", "STATUS", "GC", "VERSION"),
		id:     pick(m, "c1", "c2", "c1", strings.Repeat("c", 300), "../c", ""),
		ifName: pick(m, "eth0", "eth0", "eth1", "lo", "e/h", "all", ""),
		netns:  pick(m, jail+"/pod", jail+"/pod", jail+"/none", jail+"/file", "", "/proc/self/ns/net"),
		args:   pick(m, "", "IgnoreUnknown=1;K8S_POD_NAME=web", "MAC=02:00:00:00:00:05;IP=10.99.0.5", "nonsense", "=;="),
		conf:   m.document(),
	}
}

func pick[T any](m *mutator, from ...T) T { return from[m.IntN(len(from))] }

func (m *mutator) document() string {
	b := []byte(pick(m, documents()...))
	for range m.IntN(4) {
		if m.IntN(3) > 0 {
			b = m.changeTree(b)
		} else {
			b = m.changeBytes(b)
		}
	}
	return string(b)
}

// changeTree changes one value or key, where the document is still JSON.
func (m *mutator) changeTree(b []byte) []byte {
	var doc any
	if json.Unmarshal(b, &doc) != nil {
		return b
	}
	doc = m.change(doc, 1+m.IntN(6))
	changed, err := json.Marshal(doc)
	if err != nil {
		return b
	}
	return changed
}

// change goes down so many levels and changes what is there.
func (m *mutator) change(v any, depth int) any {
	switch v := v.(type) {
	case map[string]any:
		keys := make([]string, 0, len(v))
		for k := range v {
			keys = append(keys, k)
		}
		slices.Sort(keys)
		if depth == 0 || len(keys) == 0 {
			break
		}
		k := pick(m, keys...)
		switch m.IntN(8) {
		case 0:
			delete(v, k)
		case 1:
			v[strings.ToUpper(k)] = v[k]
			delete(v, k)
		case 2:
			v[k+"x"] = v[k]
		default:
			v[k] = m.change(v[k], depth-1)
		}
		return v
	case []any:
		if depth == 0 || len(v) == 0 {
			break
		}
		if m.IntN(4) == 0 {
			return append(v, v[m.IntN(len(v))])
		}
		i := m.IntN(len(v))
		v[i] = m.change(v[i], depth-1)
		return v
	}
	return m.value()
}

func (m *mutator) value() any {
	return pick[any](m, nil, true, -1, 0, 65536, 1e300, "", "x", "10.0.0.0/33", "::ffff:10.0.0.0/120", "fe80::1%eth0", "10.99.0.1/24", "255.255.255.255",
		"ff:ff:ff:ff:ff:ff", "ropeway", "../..", "/", "/run/file", "/proc/self/mem", "a\x00b", "ü\n", strings.Repeat("a", 5000),
		[]any{}, map[string]any{}, []any{[]any{[]any{nil}}}, map[string]any{"": map[string]any{"": nil}}, []any{"10.99.0.2", "10.99.0.3"})
}

// changeBytes changes the text, which is hardly JSON any more.
func (m *mutator) changeBytes(b []byte) []byte {
	if len(b) == 0 {
		return b
	}
	at := m.IntN(len(b))
	to := min(len(b), at+m.IntN(20))
	switch m.IntN(4) {
	case 0:
		return b[:at]
	case 1:
		return slices.Delete(slices.Clone(b), at, to)
	case 2:
		return slices.Insert(slices.Clone(b), at, b[at:to]...)
	}
	b = slices.Clone(b)
	b[at] = byte(m.IntN(256))
	return b
}

// run calls the plugin, in this process or in one of its own.
func (m *mutator) run(c call, execute bool) (exit int, stdout string) {
	env := map[string]string{
		"CNI_COMMAND": c.verb, "CNI_CONTAINERID": c.id, "CNI_NETNS": c.netns, "CNI_IFNAME": c.ifName, "CNI_ARGS": c.args, "CNI_PATH": "/run/none",
	}
	var out, complaint bytes.Buffer
	if !execute {
		p := protocol.Program{Verbs: plugin{stdout: &out}.funcs(), Versions: version.PluginSupports("0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")}
		exit = p.Run(protocol.Process{Getenv: func(key string) string { return env[key] }, Stdin: strings.NewReader(c.conf), Stdout: &out, Stderr: &complaint})
		return exit, out.String()
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = []string{runAsPlugin + "=1", "GORACE=atexit_sleep_ms=0"}
	for k, v := range env {
		cmd.Env = append(cmd.Env, k+"="+v)
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(c.conf), &out, &complaint
	if err := cmd.Run(); err != nil {
		exit = cmd.ProcessState.ExitCode()
	}
	return exit, out.String()
}

// judge notes what a plugin must not do.
func (m *mutator) judge(c call, exit int, stdout string) {
	var printed struct {
		CNIVersion        string
		Code              uint
		Msg               string
		SupportedVersions []string
	}
	err := json.Unmarshal([]byte(stdout), &printed)
	wrong := ""
	switch {
	case exit == 1 && (err != nil || printed.Code == 0 || printed.Msg == "" || printed.CNIVersion == ""):
		wrong = "no error in JSON"
	case exit == 1 && strings.Contains(printed.Msg, "panic"), exit > 1, exit < 0:
		wrong = "panic"
	case exit == 1 && printed.Code == 999:
		wrong = "an error of no class"
	case exit == 0 && c.verb == "VERSION" && len(printed.SupportedVersions) == 0:
		wrong = "no versions"
	case exit == 0 && slices.Contains([]string{"CHECK", "STATUS", "GC"}, c.verb) && stdout != "":
		wrong = "an answer to a verb that has none"
	}
	if wrong != "" {
		m.failures = append(m.failures, fmt.Sprintf("%s: exit %d, %+v, %q", wrong, exit, c, stdout))
	}
}
