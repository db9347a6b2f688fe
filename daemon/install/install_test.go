package install

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// The variables make the test binary an installing process of its own: one
// that is killed, and one that never forks, as the real one.
const (
	workerVariable    = "ROPEWAY_INSTALL_TEST_WORKER"
	namespaceVariable = "ROPEWAY_INSTALL_TEST_IN_NAMESPACE"
)

func TestMain(m *testing.M) {
	if dirs := os.Getenv(workerVariable); dirs != "" {
		var rounds int
		var first, second, to string
		if _, err := fmt.Sscanf(dirs, "%d %s %s %s", &rounds, &first, &second, &to); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(2)
		}
		if err := alternate(rounds, first, second, to); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// alternate installs from one directory and the other by turns.
func alternate(rounds int, first, second, to string) error {
	for i := range rounds {
		from := first
		if i%2 == 1 {
			from = second
		}
		if _, err := Plugins(context.Background(), from, to); err != nil {
			return err
		}
	}
	return nil
}

func worker(ctx context.Context, rounds int, first, second, to string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d %s %s %s", workerVariable, rounds, first, second, to))
	cmd.Stderr = os.Stderr
	return cmd
}

// imageOf makes a directory with stand-ins for the plugins, all of one content.
func imageOf(t *testing.T, content []byte) string {
	t.Helper()
	dir := t.TempDir()
	for _, p := range plugins() {
		if err := os.WriteFile(filepath.Join(dir, p.name), content, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func install(t *testing.T, from, to string) []Action {
	t.Helper()
	done, err := Plugins(t.Context(), from, to)
	if err != nil {
		t.Fatal(err)
	}
	return actions(done)
}

func actions(done []Done) []Action {
	var a []Action
	for _, d := range done {
		a = append(a, d.Action)
	}
	return a
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func same(t *testing.T, what string, want, got any) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func TestPluginsAreInstalledOnceAndReplacedWhenTheyDiffer(t *testing.T) {
	old, new := imageOf(t, []byte("old")), imageOf(t, []byte("new"))
	to := filepath.Join(t.TempDir(), "opt/cni/bin")
	all := func(a, b, c Action) []Action { return []Action{a, b, c} }

	same(t, "first", all(Installed, Installed, Installed), install(t, old, to))
	for _, p := range plugins() {
		info, err := os.Stat(filepath.Join(to, p.name))
		if err != nil || info.Mode() != 0o755 {
			t.Errorf("%s: %v, %v", p.name, info, err)
		}
	}
	before := inode(t, filepath.Join(to, "ropeway"))
	// loopback is not known as ours: a stand-in has no build information.
	same(t, "second", all(Unchanged, Unchanged, Foreign), install(t, old, to))
	if inode(t, filepath.Join(to, "ropeway")) != before {
		t.Error("a file that is the same already was replaced")
	}
	same(t, "update", all(Installed, Installed, Foreign), install(t, new, to))
	if got := read(t, filepath.Join(to, "ropeway")); string(got) != "new" {
		t.Errorf("ropeway holds %q", got)
	}
	if err := os.Chmod(filepath.Join(to, "ropeway-ipam"), 0o600); err != nil {
		t.Fatal(err)
	}
	same(t, "lost mode", all(Unchanged, Installed, Foreign), install(t, new, to))
	same(t, "files", []string{"loopback", "ropeway", "ropeway-ipam"}, names(t, to))
}

func inode(t *testing.T, path string) uint64 {
	t.Helper()
	var s unix.Stat_t
	if err := unix.Stat(path, &s); err != nil {
		t.Fatal(err)
	}
	return s.Ino
}

func TestLoopbackOfOursIsReplacedAndRemovedAndAnothersIsNot(t *testing.T) {
	from, to := imageOf(t, []byte("new")), t.TempDir()
	ours := filepath.Join(to, "loopback")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-ldflags=-s -w", "-o", ours, "github.com/ropeway-net/ropeway/plugins/loopback")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	earlier := read(t, ours)
	if got := install(t, from, to); got[2] != Installed || string(read(t, ours)) != "new" {
		t.Errorf("an earlier loopback of ours: %s", got[2])
	}
	// What stands there now has no build information: another project's.
	done, err := Remove(t.Context(), to)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "removed", []Action{Removed, Removed, Foreign}, actions(done))
	if err = os.WriteFile(ours, earlier, 0o755); err != nil {
		t.Fatal(err)
	}
	if done, err = Remove(t.Context(), to); err != nil {
		t.Fatal(err)
	}
	same(t, "removed then", []Action{Absent, Absent, Removed}, actions(done))
	same(t, "files", []string(nil), names(t, to))
	if _, err = Remove(t.Context(), filepath.Join(to, "absent")); err != nil {
		t.Error(err)
	}
}

// TestPluginThatIsReplacedCanAlwaysBeExecuted runs a plugin over and over while
// another process replaces it a hundred times.
func TestPluginThatIsReplacedCanAlwaysBeExecuted(t *testing.T) {
	path, err := exec.LookPath("true")
	if err != nil {
		t.Fatal(err)
	}
	program := read(t, path)
	if !bytes.HasPrefix(program, []byte("\x7fELF")) {
		t.Fatalf("%s is no program of its own; this test needs one", path)
	}
	// What follows the sections of an ELF file does not matter to the kernel.
	first, second, to := imageOf(t, program), imageOf(t, append(slices.Clone(program), '2')), t.TempDir()
	install(t, first, to)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := worker(ctx, 100, second, first, to)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error)
	go func() { ended <- cmd.Wait() }()
	for runs := 0; ; runs++ {
		if out, err := exec.CommandContext(ctx, filepath.Join(to, "ropeway")).CombinedOutput(); err != nil {
			t.Fatalf("run %d: %v %s", runs, err, out)
		}
		select {
		case err := <-ended:
			if err != nil || runs == 0 {
				t.Errorf("after %d runs the installing process ended: %v", runs, err)
			}
			return
		default:
		}
	}
}

// TestKilledInstallationLeavesOldOrNew kills an installing process while its
// temporary files are there, at different points of its work.
func TestKilledInstallationLeavesOldOrNew(t *testing.T) {
	old, new := bytes.Repeat([]byte("old "), 1<<20), bytes.Repeat([]byte("newer"), 1<<20)
	first, second, to := imageOf(t, old), imageOf(t, new), t.TempDir()
	install(t, first, to)
	leftovers := 0
	for i := range 12 {
		killWhileInstalling(t, worker(t.Context(), 1_000_000, second, first, to), to, i)
		for _, name := range []string{"ropeway", "ropeway-ipam"} {
			if got := read(t, filepath.Join(to, name)); !bytes.Equal(got, old) && !bytes.Equal(got, new) {
				t.Fatalf("%s is torn: %d bytes", name, len(got))
			}
		}
		leftovers += len(names(t, to)) - len(plugins())
		install(t, first, to)
		same(t, "files", []string{"loopback", "ropeway", "ropeway-ipam"}, names(t, to))
	}
	if leftovers == 0 {
		t.Error("no kill has hit a file that was being written")
	}
}

// killWhileInstalling kills when n temporary files have been seen.
func killWhileInstalling(t *testing.T, cmd *exec.Cmd, dir string, n int) {
	t.Helper()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for deadline := time.Now().Add(30 * time.Second); len(seen) <= n; {
		found, err := filepath.Glob(filepath.Join(dir, ".tmp-*"))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range found {
			seen[path] = true
		}
		if time.Now().After(deadline) {
			t.Error("the process installs nothing")
			break
		}
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil {
		t.Error("the process ended before it was killed")
	}
}

// inMountNamespace runs the calling test again in a process with a mount
// namespace of its own, whose mounts end with it. It is true inside.
func inMountNamespace(t *testing.T) bool {
	t.Helper()
	if os.Getenv(namespaceVariable) != "" {
		return true
	}
	if os.Geteuid() != 0 {
		t.Fatal("this test mounts a file system: run it as root")
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.v", "-test.run=^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), namespaceVariable+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Errorf("%v\n%s", err, out)
	}
	return false
}

func TestUnusableDirectoryIsNamedWithCauseAndRemedy(t *testing.T) {
	if !inMountNamespace(t) {
		return
	}
	from := imageOf(t, bytes.Repeat([]byte("content "), 64<<10/8))
	for name, tt := range map[string]struct {
		flags   uintptr
		options string
		cause   error
		remedy  string
	}{
		"read-only": {unix.MS_RDONLY, "", syscall.EROFS, "mount that file system writable"},
		"full":      {0, "size=128k", syscall.ENOSPC, "free space"},
		"noexec":    {unix.MS_NOEXEC, "", nil, "remount it with exec"},
	} {
		t.Run(name, func(t *testing.T) {
			to := t.TempDir()
			if err := unix.Mount("tmpfs", to, "tmpfs", tt.flags, tt.options); err != nil {
				t.Fatal(err)
			}
			defer func() { _ = unix.Unmount(to, unix.MNT_DETACH) }()
			_, err := Plugins(t.Context(), from, to)
			if err == nil || !strings.Contains(err.Error(), to) || !strings.Contains(err.Error(), tt.remedy) {
				t.Errorf("error %v, want %s and %q in it", err, to, tt.remedy)
			}
			if tt.cause != nil && !errors.Is(err, tt.cause) {
				t.Errorf("error %v, want %v", err, tt.cause)
			}
			same(t, "files", []string(nil), names(t, to))
		})
	}
}

func TestFullDiskKeepsEveryOldPlugin(t *testing.T) {
	if !inMountNamespace(t) {
		return
	}
	old := imageOf(t, []byte("old"))
	new := imageOf(t, bytes.Repeat([]byte("content "), 64<<10/8))
	to := t.TempDir()
	if err := unix.Mount("tmpfs", to, "tmpfs", 0, "size=128k"); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Unmount(to, unix.MNT_DETACH) }()
	install(t, old, to)
	if err := os.Remove(filepath.Join(to, "loopback")); err != nil { // then three are to be written
		t.Fatal(err)
	}
	if _, err := Plugins(t.Context(), new, to); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("error %v, want a full disk", err)
	}
	same(t, "files", []string{"ropeway", "ropeway-ipam"}, names(t, to))
	if got := read(t, filepath.Join(to, "ropeway")); string(got) != "old" {
		t.Errorf("ropeway was replaced by %d bytes", len(got))
	}
}

func TestWhatIsInTheWayIsNamed(t *testing.T) {
	from := imageOf(t, []byte("new"))
	t.Run("a directory", func(t *testing.T) {
		to := t.TempDir()
		if err := os.Mkdir(filepath.Join(to, "ropeway"), 0o755); err != nil {
			t.Fatal(err)
		}
		_, err := Plugins(t.Context(), from, to)
		if err == nil || !strings.Contains(err.Error(), filepath.Join(to, "ropeway")) || !strings.Contains(err.Error(), "move it away") {
			t.Errorf("error %v", err)
		}
	})
	t.Run("a file for the directory", func(t *testing.T) {
		to := filepath.Join(t.TempDir(), "bin")
		if err := os.WriteFile(to, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Plugins(t.Context(), from, to); err == nil || !strings.Contains(err.Error(), to) || !strings.Contains(err.Error(), "move it away") {
			t.Errorf("error %v", err)
		}
	})
	t.Run("an incomplete image", func(t *testing.T) {
		to := t.TempDir()
		_, err := Plugins(t.Context(), t.TempDir(), to)
		if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "image is incomplete") {
			t.Errorf("error %v", err)
		}
	})
	t.Run("another installation", func(t *testing.T) {
		to := t.TempDir()
		unlock, err := lock(t.Context(), to)
		if err != nil {
			t.Fatal(err)
		}
		defer unlock()
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if _, err := Plugins(ctx, from, to); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "fuser "+to) {
			t.Errorf("error %v", err)
		}
	})
}

// TestForeignOwnerIsNamed is root without CAP_DAC_OVERRIDE, as in the container.
func TestForeignOwnerIsNamed(t *testing.T) {
	to := t.TempDir()
	if err := os.Chown(to, 4711, 4711); err != nil {
		t.Fatal(err)
	}
	err := explain(&fs.PathError{Op: "open", Path: to, Err: syscall.EACCES}, to)
	if !strings.Contains(err.Error(), "user 4711") || !strings.Contains(err.Error(), "DAC_OVERRIDE") {
		t.Errorf("error %v", err)
	}
}
