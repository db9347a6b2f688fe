package main

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/ropeway-net/ropeway/integration/cni-conformance/report"
	"github.com/ropeway-net/ropeway/integration/cni-conformance/stage"
)

// outcome is what a run of the program gave.
type outcome struct {
	exit    int
	printed string
	out     string
	report.Report
}

// built is the directory of the programs, once they are there.
var built string

// builds makes the programs, once for all tests.
var builds = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "cni-conformance-*")
	if err != nil {
		return "", err
	}
	built = dir
	const project = "github.com/ropeway-net/ropeway/"
	// Without the race detector: hundreds of processes would each wait a
	// second for it.
	cmd := exec.Command("go", "build", "-o", dir+"/", project+"integration/cni-conformance", project+"plugins/ropeway", project+"plugins/ropeway-ipam")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return dir, fmt.Errorf("build: %w: %s", err, out)
	}
	return dir, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if built != "" {
		_ = os.RemoveAll(built)
	}
	os.Exit(code)
}

// build returns the directory of the program and of Ropeway's plugins.
func build(t *testing.T) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("this test makes network namespaces: run it as root")
	}
	dir, err := builds()
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func conformance(t *testing.T, program string, args ...string) outcome {
	t.Helper()
	o := outcome{out: t.TempDir()}
	cmd := exec.CommandContext(t.Context(), program, append([]string{"-out", o.out, "-jobs", "8"}, args...)...)
	printed, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		o.exit = exit.ExitCode()
	} else if err != nil {
		t.Fatal(err)
	}
	o.printed = string(printed)
	b, err := os.ReadFile(filepath.Join(o.out, "report.json"))
	if err != nil {
		t.Fatalf("no report: %v\n%s", err, o.printed)
	}
	if err := json.Unmarshal(b, &o.Report); err != nil {
		t.Fatal(err)
	}
	return o
}

// verdict is how a case ended with the first subject in its only version.
func (o outcome) verdict(t *testing.T, name string) report.Entry {
	t.Helper()
	entries := o.Subjects[0].Of(name)
	if len(entries) != 1 {
		t.Fatalf("case %s has %d outcomes: %s", name, len(entries), o.printed)
	}
	return entries[0]
}

func TestRopewayFailsNothing(t *testing.T) {
	bin := build(t)
	program := filepath.Join(bin, "cni-conformance")
	for name, tt := range map[string]struct {
		args     []string
		versions []string
	}{
		"everything in the newest version": {[]string{"-spec", "1.1.0", "subjects/ropeway.conflist"}, []string{"1.1.0"}},
		"what depends on the version": {
			[]string{
				"-spec", "0.3.1,0.4.0,1.0.0", "-case",
				"version-echoes-input,error-all-keys,add-succeeds,result-version,result-container-interface,result-ips,result-ip-version,result-ip-interface,result-routes,chain-prevresult-kept,del-succeeds,del-without-prevresult,check-after-add,check-reads-prevresult,delegate-configuration,libcni-lifecycle",
				"subjects/ropeway.conflist",
			},
			[]string{"0.3.1", "0.4.0", "1.0.0"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			o := conformance(t, program, append([]string{"-bin", bin}, tt.args...)...)
			s := o.Subjects[0]
			if o.exit != 0 || s.Count(stage.Failed)+s.Count(stage.Broken) > 0 || !slices.Equal(s.Versions, tt.versions) {
				t.Errorf("exit %d, versions %v\n%s", o.exit, s.Versions, o.printed)
			}
			if passed := s.Count(stage.Passed); passed < 30 {
				t.Errorf("only %d cases passed, so most were not run\n%s", passed, o.printed)
			}
		})
	}
}

func TestBreachesAreFound(t *testing.T) {
	program := filepath.Join(build(t), "cni-conformance")
	breaches := map[string]string{
		"exit-zero":     "env-required",
		"plain-error":   "error-structure",
		"two-documents": "add-succeeds",
		"wrong-address": "result-ips",
		"overwrites":    "add-existing-interface",
		"same-address":  "add-parallel",
		"del-once":      "del-twice",
		"leftover":      "del-leaves-nothing",
		"blind-check":   "check-address-gone",
		"gc-nothing":    "gc-removes-stale",
		"gc-everything": "gc-keeps-valid",
		"status-always": "status-exhausted",
	}
	var all []string
	for _, name := range breaches {
		all = append(all, name)
	}
	args := func(breach string, cases ...string) []string {
		return []string{"-bin", "testdata", "-case", strings.Join(cases, ","), fakeConf(t, breach)}
	}
	o := conformance(t, program, args("none", all...)...)
	if o.exit != 0 || o.Subjects[0].Count(stage.Passed) != len(all) {
		t.Fatalf("the fake plugin fails without any breach: %s", o.printed)
	}
	for breach, name := range breaches {
		t.Run(breach, func(t *testing.T) {
			t.Parallel()
			o := conformance(t, program, args(breach, name)...)
			e := o.verdict(t, name)
			if o.exit != 1 || e.Verdict != stage.Failed || e.Why == "" {
				t.Fatalf("exit %d: %s", o.exit, o.printed)
			}
			// The script shows it, and the file with it is there.
			script := filepath.Join(o.out, "scripts", "fake-1.1.0-"+name+".sh")
			if b, err := os.ReadFile(script); err != nil || string(b) != e.Script || !strings.Contains(e.Script, "CNI_COMMAND=") {
				t.Errorf("script %q, %v", b, err)
			}
			var suites struct{}
			if b, err := os.ReadFile(filepath.Join(o.out, "junit.xml")); err != nil || xml.Unmarshal(b, &suites) != nil || !strings.Contains(string(b), `failures="1"`) {
				t.Errorf("junit.xml: %v\n%s", err, b)
			}
		})
	}
}

func TestScriptShowsTheFailureByHand(t *testing.T) {
	program := filepath.Join(build(t), "cni-conformance")
	o := conformance(t, program, "-bin", "testdata", "-case", "del-twice", fakeConf(t, "del-once"))
	out, err := exec.CommandContext(t.Context(), "sh", "-c", o.verdict(t, "del-twice").Script).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "there is no such container") || !strings.Contains(string(out), "exit code 1") {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestNothingReachesTheMachine(t *testing.T) {
	program := filepath.Join(build(t), "cni-conformance")
	o := conformance(t, program, "-bin", "testdata", "-case", "del-leaves-nothing,add-succeeds", fakeConf(t, "stray"))
	if e := o.verdict(t, "del-leaves-nothing"); e.Verdict != stage.Failed && e.Verdict != stage.Passed {
		t.Fatalf("%s", o.printed)
	}
	for _, path := range []string{"/run/conformance-stray", "/var/lib/conformance-stray", "/sys/class/net/stray", stage.Own} {
		if stage.Exists(path) {
			t.Errorf("%s is on the machine", path)
		}
	}
}

func TestPageTellsWhatFailedAndHowToSeeIt(t *testing.T) {
	program := filepath.Join(build(t), "cni-conformance")
	page := filepath.Join(t.TempDir(), "page.md")
	preface := filepath.Join(t.TempDir(), "preface.md")
	if err := os.WriteFile(preface, []byte("A fake plugin.\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	o := conformance(t, program, "-bin", "testdata", "-case", "del-twice,add-succeeds,capability-mac", "-page", page, "-preface", preface, "-must-pass", "other", fakeConf(t, "del-once"))
	b, err := os.ReadFile(page)
	if err != nil || o.exit != 0 {
		t.Fatalf("exit %d, although other subjects must pass: %v\n%s", o.exit, err, o.printed)
	}
	for _, want := range []string{"A fake plugin.", "| `del-twice` | MUST |", "**failed**", "### fake: del-twice (MUST)", "export BIN; unshare", "| fake | `capability-mac` |"} {
		if !strings.Contains(string(b), want) {
			t.Errorf("the page has no %q:\n%s", want, b)
		}
	}
	wd, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(b), wd) {
		t.Errorf("the page tells where it was written: %s", wd)
	}
}

// fakeConf writes a configuration of the fake plugin.
func fakeConf(t *testing.T, breach string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "fake.conf")
	conf := `{"cniVersion":"1.1.0","name":"fake","type":"fake","breach":"` + breach + `"}`
	if err := os.WriteFile(path, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
