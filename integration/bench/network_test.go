package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// noter installs a plugin that notes each call with what it read.
func noter(t *testing.T, dir, name, result string) plugin {
	t.Helper()
	path := filepath.Join(dir, name)
	script := "#!/bin/sh\necho \"$CNI_COMMAND " + name + " $CNI_CONTAINERID $(cat)\" >>" + dir + "/calls\n" +
		"[ $CNI_COMMAND = ADD ] && echo '" + result + "'\nexit 0\n"
	if err := os.WriteFile(path, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	return plugin{path: path, conf: map[string]any{"type": name}}
}

func TestChainIsCalledAsARuntimeCallsIt(t *testing.T) {
	dir := t.TempDir()
	first, second := noter(t, dir, "first", `{"a":1}`), noter(t, dir, "second", `{"b":2}`)
	second.conf["capabilities"] = map[string]bool{"portMappings": true}
	n := newTestNode(t)
	a := &attachment{id: "x", pod: n.namespace, hostPort: 8080}
	net := network{node: n, plugins: []plugin{first, second}}
	if _, err := net.add(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	if _, err := net.check(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	if _, err := net.del(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	const port = `"runtimeConfig":{"portMappings":[{"containerPort":80,"hostPort":8080,"protocol":"tcp"}]},`
	const able = `"capabilities":{"portMappings":true},`
	want := []string{
		`ADD first x {"type":"first"}`,
		`ADD second x {` + able + `"prevResult":{"a":1},` + port + `"type":"second"}`,
		`CHECK first x {"prevResult":{"b":2},"type":"first"}`,
		`CHECK second x {` + able + `"prevResult":{"b":2},` + port + `"type":"second"}`,
		`DEL second x {` + able + `"prevResult":{"b":2},` + port + `"type":"second"}`,
		`DEL first x {"prevResult":{"b":2},"type":"first"}`,
	}
	text, err := os.ReadFile(filepath.Join(dir, "calls"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, strings.Split(strings.TrimSpace(string(text)), "\n")); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
}

func TestFilledNetworkGoesOnAfterTheLastReservation(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "networks", "bench")
	if err := fill(dir, pods4, 300); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != 301 || !slices.ContainsFunc(entries, func(e os.DirEntry) bool { return e.Name() == "10.240.1.53" }) {
		t.Errorf("%d files: %v", len(entries), entries)
	}
	last, err := os.ReadFile(filepath.Join(dir, "last_reserved_ip.0"))
	if err != nil || string(last) != "10.240.1.53" {
		t.Errorf("last address %q, %v", last, err)
	}
	if err := fill(dir, "10.0.0.0/24", 300); err == nil {
		t.Error("300 reservations found room in a /24")
	}
}
