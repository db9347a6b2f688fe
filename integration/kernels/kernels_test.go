package kernels

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// guest runs a bash script in a guest, on a machine that has all it takes.
func guest(ctx context.Context, t *testing.T, job Job, script string) (code int, output string, err error) {
	t.Helper()
	if err = Ensure(ctx); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	job.Command = []string{"bash", "-c", script}
	job.Output = &out
	code, err = Run(ctx, job)
	return code, out.String(), err
}

func within(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// One boot serves many checks: each prints a line that must be there.
const checks = `
set -e
ip netns add node
ip -n node link set lo up
ip netns exec node ping -c1 -W1 127.0.0.1 >/dev/null && echo pinged
ip -n node link add ipip type ipip mode ipip local 192.0.2.1 && echo made ipip
ip -n node link add sit type sit mode ip6ip local 192.0.2.1 && echo made sit
ip -n node link add ip6tnl type ip6tnl external && echo made ip6tnl
ip -n node link add vxlan type vxlan id 114 dstport 4789 local 192.0.2.1 && echo made vxlan
ip -n node link add veth type veth peer name peer && echo made veth
ip netns exec node nft 'add table inet t; add chain inet t c { type nat hook postrouting priority 100; }; add rule inet t c masquerade fully-random' && echo made masquerade
echo "variable $GREETING"
test -x /test/tool && test ! -x /test/data/deep/file && echo modes right
test "$(cat /test/data/deep/file)" = content && echo content right
test "$(readlink /test/data/link)" = deep/file && echo link right
pwd
nproc
read -t 1 && echo input || echo no input
printf 'carriage\r\nno line end'
exit 7
`

func TestCommandRunsInDebianKernelAndItsExitCodeComesBack(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "tool"), "#!/bin/sh\n", 0o700)
	write(t, filepath.Join(dir, "data", "deep", "file"), "content", 0o600)
	if err := os.Symlink("deep/file", filepath.Join(dir, "data", "link")); err != nil {
		t.Fatal(err)
	}
	code, out, err := guest(within(t, 3*time.Minute), t, Job{
		Files: map[string]string{"/test/tool": filepath.Join(dir, "tool"), "/test/data": filepath.Join(dir, "data")},
		Env:   []string{"GREETING=it's $HOME"},
		Dir:   "/test",
	}, checks)
	if err != nil {
		t.Fatal(err)
	}
	if code != 7 {
		t.Errorf("exit code %d, want 7", code)
	}
	want := []string{
		"made ipip", "made sit", "made ip6tnl", "made vxlan", "made veth", "made masquerade", "pinged",
		"variable it's $HOME", "modes right", "content right", "link right", "/test", "2", "no input", "carriage",
	}
	for _, line := range want {
		if !strings.Contains("\n"+out, "\n"+line+"\n") {
			t.Errorf("no line %q", line)
		}
	}
	if !strings.HasSuffix(out, "\nno line end") {
		t.Errorf("the output does not end with the command's last words")
	}
	if t.Failed() {
		t.Logf("output:\n%s", out)
	}
}

func TestPanicIsAnErrorThatShowsTheLastLines(t *testing.T) {
	_, _, err := guest(within(t, 2*time.Minute), t, Job{CPUs: 1, MemoryMB: 1024}, "echo before; echo c >/proc/sysrq-trigger")
	if err == nil || !strings.Contains(err.Error(), "panicked") || !strings.Contains(err.Error(), "before\n") {
		t.Errorf("error does not tell of the panic: %v", err)
	}
}

func TestDeadlineEndsTheGuest(t *testing.T) {
	ctx := within(t, 2*time.Minute)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	deadline := errors.New("time is up")
	job := Job{Command: []string{"bash", "-c", "echo ready; sleep 1000"}, CPUs: 1, MemoryMB: 1024}
	job.Output = writerFunc(func(p []byte) {
		if strings.Contains(string(p), "ready") {
			cancel(deadline)
		}
	})
	if err := Ensure(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := Run(ctx, job); !errors.Is(err, deadline) || !strings.Contains(err.Error(), "ready") {
		t.Errorf("Run returned %v, want the context's cause and the last lines", err)
	}
}

type writerFunc func(p []byte)

func (f writerFunc) Write(p []byte) (int, error) {
	f(p)
	return len(p), nil
}

func write(t *testing.T, path, content string, perm os.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), perm); err != nil {
		t.Fatal(err)
	}
}
