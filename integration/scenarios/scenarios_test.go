package scenarios

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/ropeway-net/ropeway/daemon/topology"
	"github.com/ropeway-net/ropeway/integration/lab"
)

// TestScenarios runs every script in every case of its matrix, as
// TestScenarios/<mode>/<script>/over-<underlay>/pods-<families>.
func TestScenarios(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("the scenarios make network namespaces; run as root")
	}
	scripts, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(scripts) < 10 {
		t.Fatalf("found %d scripts in testdata: %v", len(scripts), err)
	}
	// The first probe loads the modules, whose devices (tunl0, sit0, dummy0) then
	// stay.
	_ = Supported(topology.IPIP)
	_ = lab.SupportsIPVS()
	before, err := lab.SnapshotMachine()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		left, err := lab.Leftovers(ctx, before)
		if err != nil || len(left) > 0 {
			t.Errorf("left behind: %v %v", left, err)
		}
	})
	for _, mode := range lab.Modes() {
		t.Run(string(mode), func(t *testing.T) {
			if err := Supported(mode); err != nil {
				t.Skipf("%v; package guest runs this mode in a Debian kernel", err)
			}
			for _, script := range scripts {
				runScript(t, mode, script)
			}
		})
	}
}

func runScript(t *testing.T, mode topology.Mode, path string) {
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	cases, err := Cases(content)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	for _, c := range cases {
		if c.Mode != mode {
			continue
		}
		name := strings.TrimSuffix(filepath.Base(path), ".txtar") + "/" + c.Name()
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			testscript.Run(t, params(c, path))
		})
	}
}

// worldKey is where a script's world is in its environment.
type worldKey struct{}

func params(c Case, path string) testscript.Params {
	return testscript.Params{
		Files: []string{path},
		Cmds:  scriptCommands(),
		Setup: func(env *testscript.Env) error {
			w := newWorld(c)
			env.Values[worldKey{}] = w
			env.Defer(func() {
				failed := false
				if t, ok := env.T().(interface{ Failed() bool }); ok {
					failed = t.Failed()
				}
				if failed && w.lab != nil {
					env.T().Log(w.report())
				}
				if err := w.close(); err != nil {
					env.T().Fatal(err)
				}
			})
			return nil
		},
		Condition: c.condition,
	}
}

// condition is what scripts may ask for in brackets: the mode, whether it has a
// tunnel, whether it is a VXLAN one, the family of the underlay, and whether
// the kernel has ipip and IPVS.
func (c Case) condition(name string) (bool, error) {
	switch name {
	case "tunnel":
		return c.Mode != topology.Direct, nil
	case "vxlan":
		return strings.HasPrefix(string(c.Mode), "vxlan"), nil
	case "over-ipv4":
		return c.Underlay == lab.Dual, nil
	case "over-ipv6":
		return c.Underlay == lab.DualIPv6, nil
	case "ipip":
		return Supported(topology.IPIP) == nil, nil
	case "ipvs":
		return lab.SupportsIPVS() == nil, nil
	}
	if slices.Contains(lab.Modes(), topology.Mode(name)) {
		return c.Mode == topology.Mode(name), nil
	}
	return false, fmt.Errorf("no condition %q", name)
}

func scriptCommands() map[string]func(*testscript.TestScript, bool, []string) {
	scripted := map[string]func(*testscript.TestScript, bool, []string){}
	for name, run := range commands() {
		scripted[name] = func(ts *testscript.TestScript, neg bool, args []string) {
			w := ts.Value(worldKey{}).(*world)
			w.mkAbs, w.logf = ts.MkAbs, ts.Logf
			output, err := run(context.Background(), w, args)
			fmt.Fprint(ts.Stdout(), output)
			if err != nil {
				fmt.Fprintln(ts.Stderr(), err)
			}
			switch {
			case neg && err == nil:
				ts.Fatalf("%s succeeded, which it must not", name)
			case !neg && err != nil:
				ts.Fatalf("%s: %v", name, err)
			}
		}
	}
	return scripted
}
