package main

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const dir = ".."

func TestCheckedInManifestsAreFreshlyRendered(t *testing.T) {
	for name, overlay := range manifests() {
		want, err := render(dir, overlay)
		if err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || !bytes.Equal(want, got) {
			t.Errorf("%s is not what its sources make (%v); run: make manifests", name, err)
		}
	}
}

func TestEveryOverlayIsRenderedAndDiffersOnlyInItsMode(t *testing.T) {
	var rendered, there []string
	for _, overlay := range manifests() {
		rendered = append(rendered, overlay)
	}
	entries, err := os.ReadDir(filepath.Join(dir, "overlays"))
	if err != nil {
		t.Fatal(err)
	}
	base, err := os.ReadFile(filepath.Join(dir, "base", "ropewayd.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		there = append(there, e.Name())
		got, err := os.ReadFile(filepath.Join(dir, "overlays", e.Name(), "ropewayd.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		if want := strings.Replace(string(base), "\nmode: vxlan\n", "\nmode: "+e.Name()+"\n", 1); string(got) != want {
			t.Errorf("overlays/%s/ropewayd.yaml differs from that of base in more than the mode:\n%s", e.Name(), got)
		}
	}
	slices.Sort(rendered)
	if rendered = slices.Compact(rendered); !slices.Equal(rendered, there) {
		t.Errorf("rendered are %v, there are %v", rendered, there)
	}
}
