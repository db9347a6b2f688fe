package ipam

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestDamagedBootIDIsThatOfNoBootAndIsReplaced(t *testing.T) {
	for name, damage := range map[string]func(path string) error{
		"too long": func(path string) error { return os.WriteFile(path, []byte(strings.Repeat("a", 10_000)), 0o600) },
		"a pipe":   func(path string) error { return syscall.Mkfifo(path, 0o600) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := damage(filepath.Join(dir, bootName)); err != nil {
				t.Fatal(err)
			}
			if got, err := directory(dir).boot(); got != noBoot || err != nil {
				t.Errorf("boot %q, %v", got, err)
			}
			if _, err := Open(dir, thisBoot).Release(t.Context(), "a", "eth0"); err != nil {
				t.Errorf("release: %v", err)
			}
			if got, err := directory(dir).boot(); got != thisBoot || err != nil {
				t.Errorf("boot %q, %v; want it to be this one", got, err)
			}
		})
	}
}
