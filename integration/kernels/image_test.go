package kernels

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestInterruptedDownloadIsRemovedAndNotTakenForAKernel(t *testing.T) {
	if err := Ensure(within(t, 2*time.Minute)); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write(t, filepath.Join(dir, unpackingPrefix+"1", "root", "boot", "vmlinuz-torn"), "half", 0o644)
	if err := Fetch(within(t, 3*time.Minute), dir); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, unpackingPrefix+"1")); !os.IsNotExist(err) {
		t.Errorf("the interrupted download is still there: %v", err)
	}
	packages, err := filepath.Glob(filepath.Join(dir, "linux-image-*"))
	if err != nil || len(packages) != 1 {
		t.Fatalf("unpacked packages: %v, %v", packages, err)
	}
	img, err := openImage(packages[0])
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(img.modules, "modules.dep.bin")); err != nil {
		t.Errorf("the modules have no index: %v", err)
	}
}

func TestDirectoryWithoutKernelIsRefused(t *testing.T) {
	if _, err := openImage(t.TempDir()); err == nil {
		t.Error("an empty directory was taken for a kernel")
	}
}
