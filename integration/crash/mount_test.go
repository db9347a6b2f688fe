package crash

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/ropeway-net/ropeway/integration/crash/disk"
)

const namespaceVariable = "ROPEWAY_CRASH_IN_NAMESPACE"

// inMountNamespace runs the calling test again in a process with a mount
// namespace of its own, whose mounts end with it. It is true inside.
func inMountNamespace(t *testing.T) bool {
	t.Helper()
	if os.Getenv(namespaceVariable) != "" {
		return true
	}
	if os.Geteuid() != 0 {
		t.Fatal("this test mounts file systems: run it as root")
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.v", "-test.timeout=3h", "-test.run=^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), namespaceVariable+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Error(err)
	}
	return false
}

func unmountLater(t *testing.T, path string) {
	t.Cleanup(func() {
		if err := syscall.Unmount(path, 0); err != nil {
			t.Errorf("unmount %s: %v", path, err)
		}
	})
}

// inMemory returns a directory of a file system in memory.
func inMemory(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	unmountLater(t, dir)
	return dir
}

// bootID is the running boot, for who sees this mount namespace.
type bootID string

func newBootID(t *testing.T) bootID {
	t.Helper()
	path := filepath.Join(t.TempDir(), "boot_id")
	if err := os.WriteFile(path, []byte("none\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	const real = "/proc/sys/kernel/random/boot_id"
	if err := syscall.Mount(path, real, "", syscall.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	unmountLater(t, real)
	return bootID(path)
}

func (b bootID) is(t *testing.T, id string) {
	t.Helper()
	if err := os.WriteFile(string(b), []byte(id+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
}

// fileSystem is a kind of file system and how to make one.
type fileSystem struct {
	kind string
	size int64 // bytes
	mkfs []string
	cuts int // how many moments are tried at most
}

// fileSystems lists those that a node may have /var/lib/cni on. The sizes are
// the smallest that the programs take.
func fileSystems() []fileSystem {
	return []fileSystem{
		{"ext4", 16 << 20, []string{"mkfs.ext4", "-q", "-J", "size=4", "-E", "lazy_itable_init=0,lazy_journal_init=0"}, 1500},
		{"xfs", 300 << 20, []string{"mkfs.xfs", "-q"}, 500},
		{"btrfs", 128 << 20, []string{"mkfs.btrfs", "-q"}, 500},
	}
}

func (f fileSystem) make(t *testing.T, dir string) *disk.Disk {
	t.Helper()
	path := filepath.Join(dir, "new."+f.kind)
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, f.size); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), f.mkfs[0], append(f.mkfs[1:], path)...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %v: %s", f.mkfs, err, out)
	}
	d, err := disk.Read(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	return d
}
