package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"
	"github.com/containernetworking/cni/pkg/types/create"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// runAsPlugin makes the test binary behave as the plugin.
const runAsPlugin = "ROPEWAY_TEST_RUN_AS_PLUGIN"

func TestMain(m *testing.M) {
	if os.Getenv(runAsPlugin) != "" {
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// newNetns makes a network namespace that lives until the test ends and
// returns its path.
func newNetns(t *testing.T) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("this test makes network namespaces: run it as root")
	}
	path := filepath.Join(t.TempDir(), "netns")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	result := make(chan error)
	go func() {
		runtime.LockOSThread() // the thread ends with the goroutine
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			err = unix.Mount("/proc/thread-self/ns/net", path, "", unix.MS_BIND, "")
		}
		result <- err
	}()
	if err := <-result; err != nil {
		t.Fatalf("make a network namespace: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(path, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) {
			t.Error(err)
		}
	})
	return path
}

// call runs a verb; the error is what the plugin printed.
func call(t *testing.T, verb, netns, conf string) (string, *types.Error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = []string{runAsPlugin + "=1", "GORACE=atexit_sleep_ms=0", "CNI_COMMAND=" + verb, "CNI_CONTAINERID=c1", "CNI_IFNAME=lo", "CNI_NETNS=" + netns}
	cmd.Stdin = strings.NewReader(conf)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if err == nil {
		return stdout.String(), nil
	}
	var printed types.Error
	if jsonErr := json.Unmarshal(stdout.Bytes(), &printed); jsonErr != nil {
		t.Fatalf("%s: %v, and no error of the specification: %s%s", verb, err, stdout.String(), stderr.String())
	}
	return "", &printed
}

func must(t *testing.T, verb, netns, conf string) string {
	t.Helper()
	out, err := call(t, verb, netns, conf)
	if err != nil {
		t.Fatalf("%s: %v", verb, err)
	}
	return out
}

func code(err *types.Error) uint {
	if err == nil {
		return 0
	}
	return err.Code
}

// loopback is lo as somebody else sees it: up or not, and its addresses.
func loopback(t *testing.T, path string) string {
	t.Helper()
	h := handle(t, path)
	lo, err := h.LinkByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	if lo.Attrs().Flags&unix.IFF_UP == 0 {
		return "down"
	}
	addresses, err := h.AddrList(lo, netlink.FAMILY_ALL)
	if err != nil {
		t.Fatal(err)
	}
	out := "up"
	for _, a := range addresses {
		out += " " + a.IPNet.String()
	}
	return out
}

func handle(t *testing.T, path string) *netlink.Handle {
	t.Helper()
	ns, err := netns.GetFromPath(path)
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	h, err := netlink.NewHandleAt(ns)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Close)
	return h
}

func TestLoopbackGoesUpAndDownInEveryVersion(t *testing.T) {
	for _, version := range []string{"", "0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"} {
		t.Run("version "+version, func(t *testing.T) {
			netns := newNetns(t)
			conf := `{"name":"cni-loopback","type":"loopback"}`
			if version != "" {
				conf = `{"cniVersion":"` + version + `","name":"cni-loopback","type":"loopback"}`
			}
			for range 2 { // a repeated ADD is no error
				out := must(t, "ADD", netns, conf)
				asked := version
				if asked == "" {
					asked = "0.1.0"
				}
				r, err := create.Create(asked, []byte(out))
				if err != nil {
					t.Fatalf("result %s: %v", out, err)
				}
				current, err := types100.GetResult(r)
				if err != nil || len(current.IPs) != 2 || current.IPs[0].Address.String() != "127.0.0.1/8" || current.IPs[1].Address.String() != "::1/128" {
					t.Errorf("result %s, %v", out, err)
				}
			}
			if got, want := loopback(t, netns), "up 127.0.0.1/8 ::1/128"; got != want {
				t.Errorf("lo is %s, want %s", got, want)
			}
			for range 2 {
				must(t, "DEL", netns, conf)
			}
			if got := loopback(t, netns); got != "down" {
				t.Errorf("lo is %s after DEL", got)
			}
		})
	}
}

func TestResultBeforeIsHandedOn(t *testing.T) {
	netns := newNetns(t)
	out := must(t, "ADD", netns, `{"cniVersion":"1.0.0","name":"n","type":"loopback","prevResult":
		{"cniVersion":"1.0.0","interfaces":[{"name":"eth0","sandbox":"/x"}],"ips":[{"address":"10.1.0.2/32","interface":0}]}}`)
	if !strings.Contains(out, "10.1.0.2/32") || strings.Contains(out, "127.0.0.1") {
		t.Errorf("result %s", out)
	}
	if got := loopback(t, netns); !strings.HasPrefix(got, "up ") {
		t.Errorf("lo is %s", got)
	}
}

func TestAddWorksWhereIPv6IsOff(t *testing.T) {
	path := newNetns(t)
	h := handle(t, path)
	inNetns(t, path, func() error {
		return os.WriteFile("/proc/sys/net/ipv6/conf/lo/disable_ipv6", []byte("1"), 0)
	})
	out := must(t, "ADD", path, `{"cniVersion":"1.0.0","name":"n","type":"loopback"}`)
	if strings.Contains(out, "::1") || !strings.Contains(out, "127.0.0.1/8") {
		t.Errorf("result %s", out)
	}
	lo, err := h.LinkByName("lo")
	if err != nil || lo.Attrs().Flags&unix.IFF_UP == 0 {
		t.Errorf("lo is %v, %v", lo, err)
	}
}

func inNetns(t *testing.T, path string, f func() error) {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // the thread ends with the goroutine
		ns, err := netns.GetFromPath(path)
		if err == nil {
			err = errors.Join(netns.Set(ns), ns.Close())
		}
		if err == nil {
			err = f()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func TestCheckNamesWhatDiffers(t *testing.T) {
	path := newNetns(t)
	const conf = `{"cniVersion":"1.1.0","name":"n","type":"loopback"}`
	with := strings.Replace(conf, "}", `,"prevResult":`+must(t, "ADD", path, conf)+"}", 1)
	must(t, "CHECK", path, with)
	h := handle(t, path)
	lo, err := h.LinkByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	if err = h.LinkSetDown(lo); err != nil {
		t.Fatal(err)
	}
	if _, err := call(t, "CHECK", path, with); code(err) != codeDiffers || !strings.Contains(err.Msg, "lo is down") {
		t.Errorf("error %v", err)
	}
	must(t, "ADD", path, conf)
	address, err := netlink.ParseAddr("127.0.0.1/8")
	if err != nil {
		t.Fatal(err)
	}
	if err := h.AddrDel(lo, address); err != nil {
		t.Fatal(err)
	}
	if _, err := call(t, "CHECK", path, with); code(err) != codeDiffers || !strings.Contains(err.Msg, "lacks 127.0.0.1/8") {
		t.Errorf("error %v", err)
	}
}

func TestStatusAndGCAlwaysSucceed(t *testing.T) {
	must(t, "STATUS", "", `{"cniVersion":"1.1.0","name":"n","type":"loopback"}`)
	must(t, "GC", "", `{"cniVersion":"1.1.0","name":"n","type":"loopback","cni.dev/valid-attachments":[]}`)
}

func TestBadNamespaceIsRefusedByAddAndForgivenByDel(t *testing.T) {
	const conf = `{"cniVersion":"1.0.0","name":"n","type":"loopback"}`
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		netns    string
		add, del uint
	}{
		"absent":         {filepath.Join(t.TempDir(), "absent"), types.ErrInvalidNetNS, 0},
		"below a file":   {filepath.Join(file, "ns"), types.ErrInvalidNetNS, 0},
		"plain file":     {file, types.ErrInvalidNetNS, 0},
		"not network":    {"/proc/self/ns/mnt", types.ErrInvalidNetNS, 0},
		"plugin's own":   {"/proc/self/ns/net", types.ErrInvalidNetNS, types.ErrInvalidNetNS},
		"none, after it": {"", types.ErrInvalidEnvironmentVariables, 0},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := call(t, "ADD", tt.netns, conf); code(err) != tt.add {
				t.Errorf("ADD: error %v, want code %d", err, tt.add)
			}
			if _, err := call(t, "DEL", tt.netns, conf); code(err) != tt.del {
				t.Errorf("DEL: error %v, want code %d", err, tt.del)
			}
		})
	}
}

func TestBadConfigurationIsRefused(t *testing.T) {
	path := newNetns(t)
	for name, tt := range map[string]struct {
		conf string
		code uint
	}{
		"no JSON":         {`{`, types.ErrDecodingFailure},
		"unknown version": {`{"cniVersion":"9.0.0","name":"n","type":"loopback"}`, types.ErrIncompatibleCNIVersion},
		"null in a list":  {`{"cniVersion":"0.4.0","name":"n","type":"loopback","prevResult":{"cniVersion":"0.4.0","ips":[null]}}`, types.ErrDecodingFailure},
		"bad prevResult":  {`{"cniVersion":"1.0.0","name":"n","type":"loopback","prevResult":{"ips":1}}`, types.ErrDecodingFailure},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := call(t, "ADD", path, tt.conf); code(err) != tt.code {
				t.Errorf("error %v, want code %d", err, tt.code)
			}
		})
	}
	if got := loopback(t, path); got != "down" {
		t.Errorf("lo is %s", got)
	}
}

func FuzzParseConf(f *testing.F) {
	for _, seed := range []string{
		`{"cniVersion":"1.1.0","name":"n"}`, `{"cniVersion":"0.3.1","prevResult":{"cniVersion":"0.3.1","ips":[]}}`,
		`{"cniVersion":"0.2.0","prevResult":{"ip4":{"ip":"10.0.0.1/8"}}}`, `{}`, `null`, `[`, ``, `{"prevResult":null}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		conf, err := parseConf(b)
		if err == nil && conf.CNIVersion == "" {
			t.Errorf("accepted %q without a version", b)
		}
	})
}
