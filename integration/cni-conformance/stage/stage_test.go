package stage

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ropeway-net/ropeway/integration/cni-conformance/subject"
)

func TestFirewallLinesNameTableAndChainAndSplitElements(t *testing.T) {
	const ruleset = `table inet t {
	set s {
		type ipv4_addr
		elements = { 10.0.0.2, 10.0.0.1,
			     10.0.0.3 }
	}

	chain c {
		type filter hook input priority filter; policy accept;
		ip saddr @s drop
	}
}
`
	want := []string{
		"firewall table inet t",
		"firewall table inet t, set s",
		"firewall table inet t, set s, type ipv4_addr",
		"firewall table inet t, set s, element 10.0.0.2",
		"firewall table inet t, set s, element 10.0.0.1",
		"firewall table inet t, set s, element 10.0.0.3",
		"firewall table inet t, chain c",
		"firewall table inet t, chain c, type filter hook input priority filter; policy accept;",
		"firewall table inet t, chain c, ip saddr @s drop",
	}
	if diff := cmp.Diff(want, firewallLines(ruleset)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestBeyondCountsEqualLines(t *testing.T) {
	if diff := cmp.Diff([]string{"b", "b"}, Snapshot{"a", "b", "b", "b"}.Beyond(Snapshot{"a", "b", "c"})); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestQuotedWordsReachTheShellAsTheyAre(t *testing.T) {
	for _, word := range []string{"plain", "with space", "it's", "", "$HOME", "a;b", "`id`", `back\slash`, "K=V;L=W"} {
		out, err := exec.CommandContext(t.Context(), "sh", "-c", "printf %s "+quote(word)).Output()
		if err != nil || string(out) != word {
			t.Errorf("%q became %q, %v", word, out, err)
		}
	}
}

func TestScriptHandsOverWhatADDPrints(t *testing.T) {
	s := New(subject.Subject{Path: []string{"/bin"}}, "1.1.0")
	add := Reply{Stdin: `{"price":"$1 \\ ` + "`x`" + `"}`, stdout: []byte("{\n \"a\": 1\n}\n")}
	s.noteCall(request{plugin: "p", verb: "ADD", env: map[string]string{"CNI_PATH": "/bin"}}, add)
	s.noteCall(request{plugin: "p", verb: "DEL"}, Reply{Stdin: `{"prevResult":{"a":1}}`})
	script := s.Script()
	for _, want := range []string{"R1=$(env -i", "CNI_PATH=$BIN", `\$1`, "\\`x\\`", `{"prevResult":$R1}`} {
		if !strings.Contains(script, want) {
			t.Errorf("no %s in\n%s", want, script)
		}
	}
	if out, err := exec.CommandContext(t.Context(), "sh", "-n", "-c", script).CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

func TestScriptNamesWhatAPluginChoseAnewInEachRun(t *testing.T) {
	s := New(subject.Subject{Path: []string{"/bin"}}, "1.1.0")
	add := Reply{stdout: []byte(`{"interfaces": [
		{"name": "veth0a1b", "mac": "aa:bb:cc:00:00:01"},
		{"name": "eth0", "mac": "aa:bb:cc:00:00:02", "sandbox": "/run/netns/a"}]}`)}
	s.noteCall(request{plugin: "p", verb: "ADD"}, add)
	s.note("ip link set veth0a1b down", "ip link set veth0a1b up", "echo 'veth0a1b'")
	s.noteCall(request{plugin: "p", verb: "CHECK"}, Reply{Stdin: `{"mac":"aa:bb:cc:00:00:02"}`})
	script := s.Script()
	for want, times := range map[string]int{
		"LINKR1_1=$(": 1, "ip link set $LINKR1_1 down": 1, "ip link set $LINKR1_1 up": 1, "echo 'veth0a1b'": 1,
		"MACR1_2=$(": 1, `{"mac":"$MACR1_2"}`: 1,
	} {
		if strings.Count(script, want) != times {
			t.Errorf("%s is not there %d times:\n%s", want, times, script)
		}
	}
	var definitions []string
	for _, line := range strings.Split(script, "\n") {
		if strings.HasPrefix(line, "LINK") || strings.HasPrefix(line, "MAC") {
			definitions = append(definitions, line)
		}
	}
	shell := exec.CommandContext(t.Context(), "sh", "-euc", strings.Join(definitions, "; ")+`; echo "$LINKR1_1 $MACR1_2"`)
	shell.Env = append(os.Environ(), "R1="+string(add.stdout))
	out, err := shell.CombinedOutput()
	if want := "veth0a1b aa:bb:cc:00:00:02\n"; err != nil || string(out) != want {
		t.Errorf("the shell finds %q, %v; want %q", out, err, want)
	}
}

func TestErrorsAreReadStrictly(t *testing.T) {
	for stdout, ok := range map[string]bool{
		`{"code":4,"msg":"CNI_IFNAME"}`: true,
		`{"code":4}`:                    false,
		`{"msg":"x"}`:                   false,
		`{"code":"4","msg":"x"}`:        false,
		`{"code":4,"msg":"x"} {}`:       false,
		`oops`:                          false,
		``:                              false,
	} {
		if _, err := ErrorOf(Reply{Verb: "ADD", Code: 1, Stdout: stdout}); (err == nil) != ok {
			t.Errorf("%s: %v", stdout, err)
		}
	}
	if _, err := ErrorOf(Reply{Verb: "ADD", Stdout: `{"code":4,"msg":"x"}`}); err == nil {
		t.Error("a success was taken for an error")
	}
}

func FuzzFirewallLines(f *testing.F) {
	for _, seed := range []string{"table ip t {\n}\n", "}\n}\n", "elements = { a }", ":INPUT ACCEPT [0:0]\n", "elements = {"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, line := range firewallLines(text) {
			if !strings.HasPrefix(line, "firewall ") {
				t.Errorf("%q gave %q", text, line)
			}
		}
	})
}
