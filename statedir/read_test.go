package statedir

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestOnlyRegularFilesOfASensibleSizeAreRead(t *testing.T) {
	dir := t.TempDir()
	file := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	pipe, device := filepath.Join(dir, "pipe"), filepath.Join(dir, "device")
	if err := errors.Join(syscall.Mkfifo(pipe, 0o600), os.Symlink("/dev/zero", device)); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ path, want, cause string }{
		{path: file("empty", "")},
		{path: file("full", "1234"), want: "1234"},
		{path: file("large", "12345"), cause: "larger than 4 bytes"},
		{path: dir, cause: "directory, pipe or device"},
		{path: pipe, cause: "directory, pipe or device"},
		{path: device, cause: "directory, pipe or device"},
	} {
		b, err := ReadFile(tt.path, 4)
		if string(b) != tt.want || (err == nil) != (tt.cause == "") || err != nil && !errors.Is(err, ErrNotPlain) || err != nil && !strings.Contains(err.Error(), tt.cause) {
			t.Errorf("%s: %q, %v", filepath.Base(tt.path), b, err)
		}
	}
	if _, err := ReadFile(filepath.Join(dir, "missing"), 4); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing: %v", err)
	}
}
