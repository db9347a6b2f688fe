package scenarios

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

// TestREADMECnitoolSection types the block of the README that attaches two pods
// by hand, with fresh namespaces and a state directory of its own.
func TestREADMECnitoolSection(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?s)TestREADMECnitoolSection[^\n]*-->\n```sh\n(.*?)\n```").FindSubmatch(readme)
	if block == nil {
		t.Fatal("README.md has no block for this test")
	}
	mountPoint(t, "/var/lib/cni")
	mountPoint(t, "/run/netns")
	// The first paragraph builds and needs the network, the rest must not touch
	// the machine's own.
	build, attach, _ := strings.Cut(string(block[1]), "\n\n")
	runScriptText(t, exec.CommandContext(t.Context(), "bash", "-euc", "cd ../..\n"+build))
	output := runScriptText(t, exec.CommandContext(t.Context(), "unshare", "--net", "--mount", "--propagation", "private", "bash", "-euc", `
		mount -t tmpfs none /var/lib/cni
		mount -t tmpfs none /run/netns
		cd ../..
		`+attach+`
		find /var/lib/cni -name '10.99.*' -o -name '*.json'`))
	for _, expected := range []string{`"10.99.0.2/32"`, `"fd99::3/128"`, "3 packets transmitted, 3 received, 0% packet loss"} {
		if !strings.Contains(output, expected) {
			t.Errorf("the output lacks %s:\n%s", expected, output)
		}
	}
	if strings.Contains(output, "/var/lib/cni/") {
		t.Errorf("the detached pods left files behind:\n%s", output)
	}
}

func runScriptText(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	output, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	return string(output)
}

// mountPoint makes a directory for the duration of the test unless it is there.
func mountPoint(t *testing.T, path string) {
	if err := os.MkdirAll(path, 0o755); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) > 0 {
		return
	}
	t.Cleanup(func() {
		// Another user of the directory, by now, is welcome to it.
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Logf("%v", err)
		}
	})
}
