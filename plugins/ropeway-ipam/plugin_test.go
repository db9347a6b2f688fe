package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ropeway-net/ropeway/ipam"
	"github.com/ropeway-net/ropeway/plugins/protocol"
	"github.com/ropeway-net/ropeway/statedir"
)

const netns = "/nonexistent/netns" // IPAM never enters it

// bench is the plugin in directories of the test's own.
type bench struct {
	t        *testing.T
	dataDir  string
	stateDir string
	boot     string
}

func newBench(t *testing.T) *bench {
	return &bench{t, t.TempDir(), t.TempDir(), "this boot"}
}

// conf is a network configuration: section is more of ipam, rest more beside it.
func (b *bench) conf(version, section, rest string) string {
	return fmt.Sprintf(`{"cniVersion":%q,"name":"net","type":"ptp","ipam":{"type":"ropeway-ipam","dataDir":%q,"stateDir":%q%s}%s}`,
		version, b.dataDir, b.stateDir, section, rest)
}

// run runs a verb as skel does and returns what it printed, and the code and
// text of its error.
func (b *bench) run(verbName, id, conf string) (stdout string, code uint, text string) {
	b.t.Helper()
	var out bytes.Buffer
	p := plugin{bootID: func() (string, error) { return b.boot, nil }, stdout: &out}
	args := &protocol.Args{ContainerID: id, IfName: "eth0", Netns: netns, StdinData: []byte(conf)}
	verbs := map[string]func(*protocol.Args) error{
		"ADD": verb(p.add), "DEL": verb(p.del), "CHECK": verb(p.check), "STATUS": verb(p.status), "GC": verb(p.gc),
	}
	if err := verbs[verbName](args); err != nil {
		cni := ipam.CNIError(err)
		return out.String(), cni.Code, cni.Msg
	}
	return out.String(), 0, ""
}

func (b *bench) want(code uint, say, verbName, id, conf string) {
	b.t.Helper()
	_, got, text := b.run(verbName, id, conf)
	if got != code || !strings.Contains(text, say) {
		b.t.Errorf("%s %s: code %d %q, want %d with %q", verbName, id, got, text, code, say)
	}
}

func (b *bench) ls() []string {
	b.t.Helper()
	entries, err := os.ReadDir(filepath.Join(b.dataDir, "net"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		b.t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		if _, err := netip.ParseAddr(e.Name()); err == nil || strings.HasPrefix(e.Name(), statedir.TempPrefix) {
			names = append(names, e.Name())
		}
	}
	return names
}

const dual = `,"ranges":[[{"subnet":"10.1.0.0/24"}],[{"subnet":"fd00:1::/64"}]]`

func TestAddPrintsTheResultOfEachVersion(t *testing.T) {
	ips := `{"address":"10.1.0.2/24","gateway":"10.1.0.1"},{"address":"fd00:1::2/64","gateway":"fd00:1::1"}`
	withVersion := strings.NewReplacer(`"address":"10`, `"version":"4","address":"10`, `"address":"fd`, `"version":"6","address":"fd`).Replace(ips)
	for version, ips := range map[string]string{"0.3.1": withVersion, "0.4.0": withVersion, "1.0.0": ips, "1.1.0": ips} {
		t.Run(version, func(t *testing.T) {
			b := newBench(t)
			resolv := filepath.Join(b.stateDir, "resolv.conf")
			if err := os.WriteFile(resolv, []byte("nameserver 10.0.0.1\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			out, code, text := b.run("ADD", "abc", b.conf(version, dual+`,"resolvConf":"`+resolv+`","routes":[{"dst":"0.0.0.0/0"},{"dst":"fd99::/64","gw":"fd00:1::9"}]`, ""))
			if code != 0 {
				t.Fatal(code, text)
			}
			want := `{"cniVersion":"` + version + `","ips":[` + ips + `],"routes":[{"dst":"0.0.0.0/0"},{"dst":"fd99::/64","gw":"fd00:1::9"}],"dns":{"nameservers":["10.0.0.1"]}}`
			if diff := cmp.Diff(decoded(t, want), decoded(t, out)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func decoded(t *testing.T, s string) any {
	t.Helper()
	var v any
	if err := json.Unmarshal([]byte(s), &v); err != nil {
		t.Fatalf("%v: %s", err, s)
	}
	return v
}

func TestDelSucceedsAgainAndWhateverTheConfigurationSays(t *testing.T) {
	b := newBench(t)
	conf := b.conf("1.1.0", dual, "")
	b.want(0, "", "DEL", "abc", conf)
	b.want(0, "", "ADD", "abc", conf)
	b.want(ipam.CodeHeld, "10.1.0.2", "ADD", "abc", conf)
	b.want(0, "", "DEL", "abc", b.conf("1.1.0", `,"bogus":1,"subnet":"changed"`, ""))
	if diff := cmp.Diff([]string(nil), b.ls()); diff != "" {
		t.Errorf("reservations after DEL: -want +got:\n%s", diff)
	}
	b.want(0, "", "DEL", "abc", conf)
}

func TestAddressesComeFromNodeFileWhereNoRangeIsNamed(t *testing.T) {
	b := newBench(t)
	conf := b.conf("1.1.0", "", "")
	b.want(11, "is ropewayd running", "ADD", "abc", conf)
	b.want(50, "is ropewayd running", "STATUS", "", conf)
	node := statedir.Node{BootID: "earlier boot", Name: "n", PodCIDRs: []netip.Prefix{netip.MustParsePrefix("10.7.0.0/24")}, MTU: 1450}
	if err := statedir.Dir(b.stateDir).WriteNode(node); err != nil {
		t.Fatal(err)
	}
	b.want(11, "earlier boot", "ADD", "abc", conf)
	b.want(50, "earlier boot", "STATUS", "", conf)
	node.BootID = b.boot
	if err := statedir.Dir(b.stateDir).WriteNode(node); err != nil {
		t.Fatal(err)
	}
	b.want(0, "", "ADD", "abc", conf)
	b.want(0, "", "STATUS", "", conf)
	if diff := cmp.Diff([]string{"10.7.0.2"}, b.ls()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if err := os.WriteFile(statedir.Dir(b.stateDir).NodeFile(), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	b.want(50, "restart ropewayd", "STATUS", "", conf)
}

func TestCheckComparesPrevResultWithReservations(t *testing.T) {
	b := newBench(t)
	with := func(addrs ...string) string {
		var ips []string
		for _, a := range addrs {
			ips = append(ips, `{"address":"`+a+`"}`)
		}
		return b.conf("1.1.0", dual, `,"prevResult":{"ips":[`+strings.Join(ips, ",")+`]}`)
	}
	both := with("10.1.0.2/24", "fd00:1::2/64")
	b.want(ipam.CodeMissing, "abc", "CHECK", "abc", both)
	b.want(0, "", "ADD", "abc", both)
	b.want(0, "", "ADD", "other", both)
	b.want(0, "", "CHECK", "abc", both)
	b.want(0, "", "CHECK", "abc", with("10.1.0.2/32", "192.168.9.9/24"))
	b.want(0, "", "CHECK", "abc", with("192.168.9.9/24"))
	b.want(ipam.CodeMissing, "10.1.0.9", "CHECK", "abc", with("10.1.0.2/24", "10.1.0.9/24"))
	b.want(ipam.CodeMissing, "container other", "CHECK", "abc", with("10.1.0.3/24"))
	b.want(ipam.CodeMissing, "nobody", "CHECK", "nobody", with("192.168.9.9/24"))
	b.want(6, "prevResult", "CHECK", "abc", with("nonsense"))
}

func TestStatusSaysWhyAnAddWouldFail(t *testing.T) {
	b := newBench(t)
	conf := b.conf("1.1.0", `,"subnet":"10.1.0.0/30"`, "")
	b.want(0, "", "STATUS", "", conf)
	b.want(0, "", "ADD", "abc", conf)
	b.want(50, "10.1.0.0/30 is full (1 of 1 in use)", "STATUS", "", conf)
	b.want(ipam.CodeFull, "10.1.0.0/30 is full (1 of 1 in use)", "ADD", "more", conf)
	b.boot = "next boot"
	b.want(0, "", "STATUS", "", conf)
	b.want(2, "unknown key", "STATUS", "", b.conf("1.1.0", `,"bogus":1`, ""))
	if err := os.RemoveAll(b.dataDir); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(b.dataDir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	b.want(50, "not a directory", "STATUS", "", conf)
}

func TestGCNeedsAListAndKeepsWhatIsOnIt(t *testing.T) {
	const listed = `[{"containerID":"a","ifname":"eth0"}]`
	for _, test := range []struct {
		name, keys string
		code       uint
		say        string
		want       []string
	}{
		{"no list", ``, 7, "cni.dev/valid-attachments", []string{"10.1.0.2", "10.1.0.3"}},
		{"key of the specification", `,"cni.dev/valid-attachments":` + listed, 0, "", []string{"10.1.0.2"}},
		{"key of earlier libcni", `,"cni.dev/attachments":` + listed, 0, "", []string{"10.1.0.2"}},
		{"both", `,"cni.dev/valid-attachments":` + listed + `,"cni.dev/attachments":` + listed, 0, "", []string{"10.1.0.2"}},
		{"runtime without pods", `,"cni.dev/valid-attachments":null,"cni.dev/attachments":null`, 0, "", nil},
		{"empty", `,"cni.dev/valid-attachments":[]`, 0, "", nil},
		{"no list of attachments", `,"cni.dev/valid-attachments":"a"`, 6, "cni.dev/valid-attachments", []string{"10.1.0.2", "10.1.0.3"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := newBench(t)
			for _, id := range []string{"a", "b"} {
				b.want(0, "", "ADD", id, b.conf("1.1.0", `,"subnet":"10.1.0.0/24"`, ""))
			}
			b.want(test.code, test.say, "GC", "", b.conf("1.1.0", `,"subnet":"10.1.0.0/24"`, test.keys))
			if diff := cmp.Diff(test.want, b.ls()); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestOwnNamespaceIsRefusedBeforeAnythingIsDone(t *testing.T) {
	b := newBench(t)
	p := plugin{bootID: statedir.BootID, stdout: &bytes.Buffer{}}
	args := &protocol.Args{ContainerID: "abc", IfName: "eth0", Netns: "/proc/self/ns/net", StdinData: []byte(b.conf("1.1.0", dual, ""))}
	for name, run := range map[string]func(*protocol.Args) error{"ADD": verb(p.add), "DEL": verb(p.del), "CHECK": verb(p.check)} {
		if err := run(args); ipam.CNIError(err) == nil || ipam.CNIError(err).Code != 8 {
			t.Errorf("%s in the plugin's own namespace: %v", name, err)
		}
	}
	if _, err := os.Stat(filepath.Join(b.dataDir, "net")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the network's directory was made: %v", err)
	}
	args.NetnsOverride = "1"
	if err := verb(p.add)(args); err != nil {
		t.Errorf("with CNI_NETNS_OVERRIDE: %v", err)
	}
}

// brokenPipe is the standard output of a plugin whose runtime has gone.
type brokenPipe struct{}

func (brokenPipe) Write([]byte) (int, error) { return 0, errors.New("broken pipe") }

func TestAddThatCannotPrintGivesTheAddressesBack(t *testing.T) {
	b := newBench(t)
	p := plugin{bootID: statedir.BootID, stdout: brokenPipe{}}
	err := verb(p.add)(&protocol.Args{ContainerID: "abc", IfName: "eth0", Netns: netns, StdinData: []byte(b.conf("1.1.0", dual, ""))})
	if err == nil || !strings.Contains(err.Error(), "broken pipe") {
		t.Errorf("error %v", err)
	}
	if diff := cmp.Diff([]string(nil), b.ls()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestBadInputGetsTheRightCode(t *testing.T) {
	b := newBench(t)
	b.want(6, "not valid JSON", "ADD", "abc", `{`)
	b.want(6, "not valid JSON", "DEL", "abc", `{`)
	b.want(2, `"bogus"`, "ADD", "abc", b.conf("1.1.0", `,"bogus":1`, ""))
	b.want(7, `"a/b"`, "DEL", "abc", `{"name":"a/b"}`)
	b.want(4, "CNI_CONTAINERID", "ADD", "a/b", b.conf("1.1.0", dual, ""))
}
