package ipam

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

const namespaceVariable = "ROPEWAY_IPAM_TEST_IN_NAMESPACE"

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

func mount(t *testing.T, dir string, flags uintptr, options string) {
	t.Helper()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", flags, options); err != nil {
		t.Fatalf("mount tmpfs on %s: %v", dir, err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Errorf("unmount %s: %v", dir, err)
		}
	})
}

// fill takes all room of the filesystem that holds dir, and returns the file
// that has it.
func fill(t *testing.T, dir string) string {
	t.Helper()
	path := filepath.Join(dir, "filler")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for err == nil {
		_, err = f.Write(make([]byte, 4096))
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	return path
}

func TestFullDiskFailsClearlyLeaksNothingAndLetsDelMakeRoom(t *testing.T) {
	if !inMountNamespace(t) {
		return
	}
	c := newConfig(t, "10.1.0.0/24", "fd00:1::/64")
	mount(t, c.DataDir, 0, "size=64k")
	s := Open(c.Dir(), thisBoot)
	allocate(t, s, c, "a")
	before := ls(t, c)
	filler := fill(t, c.DataDir)

	_, err := s.Allocate(t.Context(), c, "b", "eth0")
	wantDiskError(t, err, syscall.ENOSPC, "free space")
	wantDiskError(t, s.Writable(t.Context()), syscall.ENOSPC, "free space")
	same(t, "files", before, ls(t, c))

	next := Open(c.Dir(), "another boot")
	same(t, "nothing of an earlier boot to release", []string(nil), release(t, next, "a"))
	same(t, "files", []string(nil), ls(t, c))
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	same(t, "with room again", []string{"10.1.0.3", "fd00:1::3"}, allocate(t, next, c, "b"))
	fill(t, c.DataDir)
	same(t, "DEL on a full disk", []string{"10.1.0.3", "fd00:1::3"}, release(t, next, "b"))
}

// TestDiskThatFillsUpAtAnyStepLeavesNoHalfReservation takes away the room
// inode by inode, so that each file that ADD makes is the one that fails once.
func TestDiskThatFillsUpAtAnyStepLeavesNoHalfReservation(t *testing.T) {
	if !inMountNamespace(t) {
		return
	}
	failed := 0
	for inodes := 3; ; inodes++ {
		c := newConfig(t, "10.1.0.0/24", "fd00:1::/64")
		mount(t, c.DataDir, 0, fmt.Sprintf("size=1m,nr_inodes=%d", inodes))
		s := Open(c.Dir(), thisBoot)
		_, err := s.Allocate(t.Context(), c, "a", "eth0")
		if err == nil {
			same(t, "files", []string{"10.1.0.2", "fd00:1::2"}, ls(t, c))
			break
		}
		failed++
		wantDiskError(t, err, syscall.ENOSPC, "inodes")
		same(t, fmt.Sprintf("files with %d inodes", inodes), []string(nil), ls(t, c))
		if inodes > 50 {
			t.Fatal("no number of inodes is enough")
		}
	}
	if failed < 4 {
		t.Errorf("only %d steps failed: lock, boot_id, last_reserved_ip and reservation each should", failed)
	}
}

func TestReadOnlyDirectoryFailsClearlyAndCanBeRead(t *testing.T) {
	if !inMountNamespace(t) {
		return
	}
	c := newConfig(t, "10.1.0.0/24", "fd00:1::/64")
	mount(t, c.DataDir, 0, "size=1m")
	s := Open(c.Dir(), thisBoot)
	held := []string{"10.1.0.2", "fd00:1::2"}
	same(t, "allocated", held, allocate(t, s, c, "a"))
	if err := syscall.Mount("", c.DataDir, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}

	_, err := s.Allocate(t.Context(), c, "b", "eth0")
	wantDiskError(t, err, syscall.EROFS, "writable")
	_, err = s.Release(t.Context(), "a", "eth0")
	wantDiskError(t, err, syscall.EROFS, "writable")
	_, err = s.GC(t.Context(), nil)
	wantDiskError(t, err, syscall.EROFS, "writable")
	wantDiskError(t, s.Writable(t.Context()), syscall.EROFS, "writable")
	other := c
	other.Network = "new"
	_, err = Open(other.Dir(), thisBoot).Allocate(t.Context(), other, "b", "eth0")
	wantDiskError(t, err, syscall.EROFS, "writable")

	same(t, "files", held, ls(t, c))
	if err := s.Check(t.Context(), "a", "eth0", nil); err != nil {
		t.Error(err)
	}
	if list, err := s.List(t.Context()); err != nil || len(list) != 2 {
		t.Errorf("listed %v, %v", list, err)
	}
	if usage, err := s.Usage(t.Context(), c); err != nil || usage[0].Used != 1 {
		t.Errorf("usage %v, %v", usage, err)
	}
	same(t, "DEL of what is not held", []string(nil), release(t, s, "nobody"))
}

func TestDirectoryThatIsAFileIsAnError(t *testing.T) {
	c := newConfig(t, "10.1.0.0/24")
	if err := os.WriteFile(c.Dir(), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Open(c.Dir(), thisBoot).Allocate(t.Context(), c, "b", "eth0")
	wantDiskError(t, err, syscall.ENOTDIR, c.Dir(), "move it away")
}

func wantDiskError(t *testing.T, err error, errno syscall.Errno, say ...string) {
	t.Helper()
	if !errors.Is(err, errno) || CNIError(err).Code != 5 {
		t.Errorf("error %v, want %v with code 5", err, errno)
		return
	}
	if slices.ContainsFunc(say, func(s string) bool { return !strings.Contains(err.Error(), s) }) {
		t.Errorf("error does not say %q: %v", say, err)
	}
}
