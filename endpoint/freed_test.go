package endpoint

import (
	"net/netip"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestAddressesAreFreedLatelyUntilForgotten(t *testing.T) {
	f := Freed{Path: filepath.Join(t.TempDir(), "new", "freed")}
	all := []netip.Addr{netip.MustParseAddr("10.244.1.5"), netip.MustParseAddr("fd00::5"), netip.MustParseAddr("10.244.1.6")}
	lately := func() []string {
		t.Helper()
		found, err := f.Lately(all)
		if err != nil {
			t.Fatal(err)
		}
		var texts []string
		for _, a := range found {
			texts = append(texts, a.String())
		}
		return texts
	}
	if got := lately(); got != nil {
		t.Errorf("before any: %v", got)
	}
	for range 2 {
		if err := f.Note(all[:2]); err != nil {
			t.Fatal(err)
		}
	}
	if d := cmp.Diff([]string{"10.244.1.5", "fd00::5"}, lately()); d != "" {
		t.Error(d)
	}
	if err := f.Forget(all[:1]); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"fd00::5"}, lately()); d != "" {
		t.Error(d)
	}
}

func TestFreedFileStaysSmall(t *testing.T) {
	f := Freed{Path: filepath.Join(t.TempDir(), "freed")}
	a := netip.MustParseAddr("fd00::1")
	var many []netip.Addr
	for range 2 * freedSlots {
		a = a.Next()
		many = append(many, a)
	}
	if err := f.Note(many); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(f.Path)
	if err != nil || info.Size() > freedSlots*slotSize {
		t.Errorf("%d bytes, %v", info.Size(), err)
	}
	if got, err := f.Lately([]netip.Addr{a}); err != nil || len(got) != 1 {
		t.Errorf("the last one is not remembered: %v, %v", got, err)
	}
}

func TestWhatIsNoFreedFileHarmsNobody(t *testing.T) {
	a := []netip.Addr{netip.MustParseAddr("10.244.1.5")}
	for name, make := range map[string]func(path string) error{
		"short": func(path string) error { return os.WriteFile(path, []byte("x"), 0o600) },
		"pipe":  func(path string) error { return syscall.Mkfifo(path, 0o600) },
		"link":  func(path string) error { return os.Symlink("/etc/hostname", path) },
		"dir":   func(path string) error { return os.Mkdir(path, 0o700) },
	} {
		f := Freed{Path: filepath.Join(t.TempDir(), "freed")}
		if err := make(f.Path); err != nil {
			t.Fatal(err)
		}
		if got, _ := f.Lately(a); len(got) != 0 {
			t.Errorf("%s: freed %v", name, got)
		}
		_ = f.Note(a) // may fail, must return
	}
}
