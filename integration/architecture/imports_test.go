// Package architecture holds the boundaries of ARCHITECTURE.md that a compiler
// does not: what may import what, and what a plugin binary may contain.
package architecture

import (
	"encoding/json"
	"errors"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const module = "github.com/ropeway-net/ropeway"

// goPackage is the part of `go list -json` that the rules look at.
type goPackage struct {
	ImportPath string
	Dir        string
	GoFiles    []string
	Imports    []string
	Deps       []string
}

func listPackages(t *testing.T) []goPackage {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Dir,GoFiles,Imports,Deps", module+"/...")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var packages []goPackage
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p goPackage
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		p.ImportPath = strings.TrimPrefix(p.ImportPath, module+"/")
		packages = append(packages, p)
	}
	if len(packages) < 10 {
		t.Fatalf("go list found %d packages, that cannot be all", len(packages))
	}
	return packages
}

func TestOnlyKernelTalksToLinux(t *testing.T) {
	for _, p := range listPackages(t) {
		if p.ImportPath == "kernel" || strings.HasPrefix(p.ImportPath, "integration/") {
			continue
		}
		for _, imported := range p.Imports {
			for _, library := range []string{"github.com/vishvananda/", "github.com/google/nftables", "github.com/mdlayher/netlink"} {
				if strings.HasPrefix(imported, library) {
					t.Errorf("%s imports %s; only package kernel is the door to Linux", p.ImportPath, imported)
				}
			}
		}
	}
}

func TestOneDoorToJSONText(t *testing.T) {
	for _, p := range listPackages(t) {
		for _, imported := range p.Imports {
			allowed := p.ImportPath == "jsonobject" && strings.HasSuffix(imported, "/jsontext")
			if strings.HasPrefix(imported, "github.com/go-json-experiment/") && !allowed {
				t.Errorf("%s imports %s; only jsonobject does, and only its grammar", p.ImportPath, imported)
			}
		}
	}
}

func TestPluginsLinkNeitherKubernetesNorHTTP(t *testing.T) {
	for _, p := range listPackages(t) {
		if !strings.HasPrefix(p.ImportPath, "plugins/") {
			continue
		}
		for _, dep := range p.Deps {
			if strings.HasPrefix(dep, "k8s.io/") || dep == "net/http" {
				t.Errorf("%s links %s; a plugin starts fast, does one thing and exits", p.ImportPath, dep)
			}
		}
	}
}

func TestOnlyTheDaemonLinksKubernetes(t *testing.T) {
	for _, p := range listPackages(t) {
		switch {
		case strings.HasPrefix(p.ImportPath, "integration/"), p.ImportPath == "daemon/kubernetes", p.ImportPath == "daemon/ropewayd":
			continue
		}
		for _, dep := range p.Deps {
			if strings.HasPrefix(dep, "k8s.io/") {
				t.Errorf("%s links %s; what the API server says and hears goes through daemon/kubernetes", p.ImportPath, dep)
				break
			}
		}
	}
}

func TestPureRoomsDoNotKnowTheirCallers(t *testing.T) {
	forbidden := map[string][]string{
		"ipam":            {"kernel", "endpoint", "daemon", "plugins"},
		"statedir":        {"kernel", "endpoint", "ipam", "daemon", "plugins"},
		"endpoint":        {"ipam", "daemon", "plugins"},
		"jsonobject":      {"kernel", "statedir", "endpoint", "ipam", "daemon", "plugins"},
		"coalesce":        {"kernel", "statedir", "endpoint", "ipam", "daemon", "plugins"},
		"kernel":          {"endpoint", "ipam", "statedir", "daemon", "plugins"},
		"daemon/cluster":  {"kernel", "daemon/topology", "daemon/reconcile"},
		"daemon/topology": {"daemon/reconcile", "ipam", "plugins"},
	}
	for _, p := range listPackages(t) {
		for _, room := range forbidden[p.ImportPath] {
			for _, imported := range p.Imports {
				own, ok := strings.CutPrefix(imported, module+"/")
				if ok && (own == room || strings.HasPrefix(own, room+"/")) {
					t.Errorf("%s imports %s", p.ImportPath, own)
				}
			}
		}
	}
}

func TestEveryPackageSaysWhatItIs(t *testing.T) {
	for _, p := range listPackages(t) {
		documented := len(p.GoFiles) == 0
		for _, name := range p.GoFiles {
			file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, name), nil, parser.PackageClauseOnly|parser.ParseComments)
			if err != nil {
				t.Fatal(err)
			}
			documented = documented || file.Doc != nil
		}
		if !documented {
			t.Errorf("package %s has no comment that says what it is", p.ImportPath)
		}
	}
}

func TestPluginBinaryIsSmall(t *testing.T) {
	const limit = 7_000_000 // bytes
	path := filepath.Join(t.TempDir(), "ropeway")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-ldflags=-s -w", "-o", path, module+"/plugins/ropeway")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Size() >= limit {
		t.Errorf("plugins/ropeway has %d bytes, limit %d: look at its imports", info.Size(), limit)
	}
}

func TestNoSourceFileIsTooLong(t *testing.T) {
	const limit = 500 // lines
	err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") {
			return err
		}
		b, err := os.ReadFile(path)
		if n := strings.Count(string(b), "\n"); n > limit {
			t.Errorf("%s has %d lines, limit %d: split it by noun", path, n, limit)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
