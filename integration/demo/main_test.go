package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ropeway-net/ropeway/integration/lab"
)

func TestDemoShowsEveryPairAndLeavesNothing(t *testing.T) {
	bin := os.Getenv("ROPEWAY_BIN")
	if bin == "" {
		bin = t.TempDir()
		if err := lab.Build(t.Context(), bin); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var out bytes.Buffer
	if err := run(ctx, []string{"-modes", "vxlan-cross-subnet", "-bulk", "10ms", "-bin", bin}, &out); err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	text := out.String()
	for _, want := range []string{"p1 - p2   n1 - n1   ipv4   same node", "p1 - p3   n1 - n2   ipv6   direct", "p1 - p6   n1 - n3   ipv6   vxlan", "30 of 30"} {
		if !strings.Contains(text, want) {
			t.Errorf("output lacks %q", want)
		}
	}
	lines := strings.Split(strings.TrimSpace(text), "\n")
	if last := lines[len(lines)-1]; !strings.HasPrefix(last, "Nothing was left") {
		t.Errorf("last line is %q", last)
	}
	if t.Failed() {
		t.Log(text)
	}
}

func TestDemoFailsAndLeavesNothingWhenADaemonDoesNotStart(t *testing.T) {
	bin := t.TempDir()
	for _, name := range []string{"ropeway", "ropeway-ipam", "ropewayd"} {
		if err := os.WriteFile(filepath.Join(bin, name), []byte("#!/bin/sh\necho broken; exit 3\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	var out bytes.Buffer
	err := run(t.Context(), []string{"-modes", "direct", "-bin", bin}, &out)
	if err == nil || !strings.Contains(out.String(), "broken") || !strings.Contains(out.String(), "Nothing was left") {
		t.Errorf("got %v\n%s", err, &out)
	}
}

func TestUnknownModeIsNamed(t *testing.T) {
	if _, err := parseModes("vxlan,carrier-pigeon"); err == nil || !strings.Contains(err.Error(), "carrier-pigeon") {
		t.Errorf("got %v", err)
	}
}
