package protocol

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/containernetworking/cni/pkg/types"
	"github.com/containernetworking/cni/pkg/version"
	"github.com/google/go-cmp/cmp"
)

// printed is what a plugin says when it fails.
type printed struct {
	CNIVersion string
	Code       uint
	Msg        string
}

// run runs a plugin whose verbs all do the same. environment is
// "CNI_X=value" of each variable but CNI_COMMAND.
func run(t *testing.T, command, stdin string, do func(*Args) error, environment ...string) (exit int, stdout string, e printed) {
	t.Helper()
	env := map[string]string{"CNI_COMMAND": command}
	for _, pair := range environment {
		key, value, _ := strings.Cut(pair, "=")
		env[key] = value
	}
	var out, complaint bytes.Buffer
	p := Program{
		Verbs:    Verbs{Add: do, Del: do, Check: do, Status: do, GC: do},
		Versions: version.PluginSupports("0.3.1", "0.4.0", "1.0.0", "1.1.0"), About: "a plugin",
	}
	exit = p.Run(Process{
		Getenv: func(key string) string { return env[key] }, Stdin: strings.NewReader(stdin), Stdout: &out, Stderr: &complaint, Path: "/opt/cni/bin/plugin",
	})
	if exit != 0 {
		if err := json.Unmarshal(out.Bytes(), &e); err != nil || e.Code == 0 || e.Msg == "" {
			t.Errorf("exit %d, and no error: %q, %v", exit, out.String(), err)
		}
	}
	return exit, out.String(), e
}

func nothing(*Args) error { return nil }

func attachment(more ...string) []string {
	return append([]string{"CNI_CONTAINERID=a", "CNI_IFNAME=eth0", "CNI_NETNS=/run/netns/a"}, more...)
}

func TestVersionAnswersInTheVersionOfTheQuestion(t *testing.T) {
	for asked, answered := range map[string]string{
		"1.0.0": "1.0.0", "0.3.1": "0.3.1", "1.1.0": "1.1.0", "9.0.0": "1.1.0", "": "1.1.0",
	} {
		stdin := `{"cniVersion":"` + asked + `"}`
		if asked == "" {
			stdin = ""
		}
		exit, out, _ := run(t, "VERSION", stdin, nothing)
		if want := `{"cniVersion":"` + answered + `","supportedVersions":["0.3.1","0.4.0","1.0.0","1.1.0"]}` + "\n"; exit != 0 || out != want {
			t.Errorf("%q: exit %d, %s", asked, exit, out)
		}
	}
}

func TestWhatIsWrongWithACallIsNamed(t *testing.T) {
	const conf = `{"cniVersion":"1.1.0","name":"n","type":"plugin"}`
	for name, tt := range map[string]struct {
		command, stdin string
		environment    []string
		code           uint
		version, word  string
	}{
		"unknown command":     {"FLY", conf, attachment(), 4, "1.1.0", `CNI_COMMAND: "FLY"`},
		"no command":          {"", conf, attachment(), 4, "1.1.0", "CNI_COMMAND"},
		"all variables":       {"ADD", conf, []string{"CNI_IFNAME=a/b", "CNI_CONTAINERID=../a"}, 4, "1.1.0", `CNI_CONTAINERID="../a": invalid characters`},
		"and the others":      {"ADD", conf, []string{"CNI_IFNAME=a/b", "CNI_CONTAINERID=../a"}, 4, "1.1.0", `CNI_IFNAME="a/b": interface name`},
		"and the missing":     {"CHECK", conf, nil, 4, "1.1.0", "CNI_NETNS is missing"},
		"no JSON":             {"ADD", `{`, attachment(), 6, "1.1.0", "python3"},
		"no object":           {"GC", `[]`, nil, 6, "1.1.0", "JSON"},
		"nothing":             {"STATUS", ``, nil, 6, "1.1.0", "JSON"},
		"wrong type":          {"DEL", `{"cniVersion":1}`, attachment(), 6, "1.1.0", "cniVersion"},
		"too large":           {"DEL", `{"name":"` + strings.Repeat("n", maxInput) + `"}`, attachment(), 6, "1.1.0", "larger"},
		"no name":             {"DEL", `{"cniVersion":"1.0.0"}`, attachment(), 7, "1.0.0", "name"},
		"bad name":            {"DEL", `{"cniVersion":"1.0.0","name":"../n"}`, attachment(), 7, "1.0.0", `"../n"`},
		"no version":          {"ADD", `{"name":"n"}`, attachment(), 1, "1.1.0", `"0.1.0"`},
		"unknown version":     {"ADD", `{"name":"n","cniVersion":"9.9.9"}`, attachment(), 1, "1.1.0", `"9.9.9"`},
		"no version at all":   {"ADD", `{"name":"n","cniVersion":"x"}`, attachment(), 1, "1.1.0", `"x"`},
		"too old for CHECK":   {"CHECK", `{"name":"n","cniVersion":"0.3.1"}`, attachment(), 1, "0.3.1", "0.4.0"},
		"too old for STATUS":  {"STATUS", `{"name":"n","cniVersion":"1.0.0"}`, nil, 1, "1.0.0", "1.1.0 or later"},
		"too old for GC":      {"GC", `{"name":"n","cniVersion":"1.0.0"}`, nil, 1, "1.0.0", "1.1.0 or later"},
		"the verb's own code": {"DEL", conf, attachment("WANT=11"), 11, "1.1.0", "later"},
		"no code":             {"DEL", conf, attachment("WANT=none"), 999, "1.1.0", "broken"},
		"panic":               {"DEL", conf, attachment("WANT=panic"), 999, "1.1.0", "panicked"},
	} {
		t.Run(name, func(t *testing.T) {
			do := func(*Args) error {
				switch strings.Join(tt.environment, " ") {
				case strings.Join(attachment("WANT=11"), " "):
					return types.NewError(11, "later", "")
				case strings.Join(attachment("WANT=none"), " "):
					return errors.New("broken")
				case strings.Join(attachment("WANT=panic"), " "):
					panic("on purpose")
				}
				t.Error("the verb was reached")
				return nil
			}
			exit, _, e := run(t, tt.command, tt.stdin, do, tt.environment...)
			if exit != 1 || e.Code != tt.code || e.CNIVersion != tt.version || !strings.Contains(e.Msg, tt.word) {
				t.Errorf("exit %d, %+v; want code %d of version %s with %q", exit, e, tt.code, tt.version, tt.word)
			}
		})
	}
}

func TestVerbsGetWhatTheRuntimeSays(t *testing.T) {
	const conf = `{"cniVersion":"1.1.0","name":"n","type":"plugin"}`
	for _, tt := range []struct {
		command     string
		environment []string
		want        Args
	}{
		{"ADD", attachment("CNI_ARGS=A=1", "CNI_PATH=/x:/y", "CNI_NETNS_OVERRIDE=1"), Args{
			ContainerID: "a", IfName: "eth0", Netns: "/run/netns/a", Args: "A=1", Path: "/x:/y", NetnsOverride: "1", StdinData: []byte(conf)}},
		{"DEL", []string{"CNI_CONTAINERID=a", "CNI_IFNAME=eth0"}, Args{ContainerID: "a", IfName: "eth0", Path: "/opt/cni/bin", StdinData: []byte(conf)}},
		{"STATUS", nil, Args{Path: "/opt/cni/bin", StdinData: []byte(conf)}},
		{"GC", nil, Args{Path: "/opt/cni/bin", StdinData: []byte(conf)}},
	} {
		var got Args
		exit, out, _ := run(t, tt.command, conf, func(a *Args) error { got = *a; return nil }, tt.environment...)
		if exit != 0 || out != "" {
			t.Errorf("%s: exit %d, %q", tt.command, exit, out)
		}
		if d := cmp.Diff(tt.want, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", tt.command, d)
		}
	}
}

func TestWithoutAnythingThePluginSaysWhatItIs(t *testing.T) {
	if exit, out, _ := run(t, "", "", nothing); exit != 0 || out != "" {
		t.Errorf("exit %d, %q", exit, out)
	}
}

func FuzzRun(f *testing.F) {
	for _, command := range []string{"ADD", "DEL", "CHECK", "STATUS", "GC", "VERSION", "", "add"} {
		f.Add(command, "a", "eth0", []byte(`{"cniVersion":"1.1.0","name":"n"}`))
		f.Add(command, "", "e/th", []byte(`{"cniVersion":"0.3.1","name":"../n"}`))
		f.Add(command, "..", "lo", []byte(`[`))
	}
	f.Fuzz(func(t *testing.T, command, id, ifName string, stdin []byte) {
		reached := false
		exit, out, e := run(t, command, string(stdin), func(*Args) error { reached = true; return nil },
			"CNI_CONTAINERID="+id, "CNI_IFNAME="+ifName, "CNI_NETNS=/x")
		switch {
		case exit == 0 && command != "VERSION" && out != "":
			t.Errorf("%q on standard output", out)
		case exit != 0 && (reached || e.CNIVersion == ""):
			t.Errorf("exit %d, reached %t, %+v", exit, reached, e)
		}
	})
}

func TestVersionStandsBesideANameOfTheWrongType(t *testing.T) {
	for conf, want := range map[string]string{
		`{"cniVersion":"0.4.0","name":{}}`: "0.4.0", `{"name":{},"cniVersion":"1.0.0"}`: "1.0.0", `{"cniVersion":4}`: "0.1.0", `{`: "0.1.0",
	} {
		if h, err := parseHeader([]byte(conf)); h.CNIVersion != want || err == nil {
			t.Errorf("%s: version %q, %v; want %s and an error", conf, h.CNIVersion, err, want)
		}
	}
}
