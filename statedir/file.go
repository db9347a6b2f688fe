package statedir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// WriteFile replaces path with data, mode 0600, so that after a crash or a
// power cut it holds either what it held before or all of data. Missing parent
// directories are made, mode 0755.
func WriteFile(path string, data []byte) (err error) {
	dir := filepath.Dir(path)
	if err = os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	tmp, err := os.CreateTemp(dir, TempPrefix+filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer func() {
		if err != nil {
			_ = os.Remove(tmp.Name())
			err = fmt.Errorf("write %s: %w", path, err)
		}
	}()
	_, err = tmp.Write(data)
	if err == nil {
		err = tmp.Sync()
	}
	if closeErr := tmp.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return err
	}
	if err := os.Rename(tmp.Name(), path); err != nil {
		return err
	}
	return SyncDir(dir)
}

// TempPrefix begins the names of files that are being written. One that a
// crash left behind means nothing and may be removed.
const TempPrefix = ".tmp-"

// Remove deletes path durably. A file that is not there is no error, on a
// read-only file system neither, where the kernel does not look for it.
func Remove(path string) error {
	err := os.Remove(path)
	if err == nil {
		return SyncDir(filepath.Dir(path))
	}
	return unlessMissing(path, err)
}

// Forget is [Remove] for a file that stands for something of this boot alone: a
// power cut, which may bring it back, makes it stale.
func Forget(path string) error {
	if err := os.Remove(path); err != nil {
		return unlessMissing(path, err)
	}
	return nil
}

func unlessMissing(path string, err error) error {
	if _, statErr := os.Lstat(path); errors.Is(statErr, fs.ErrNotExist) {
		return nil
	}
	return err
}

// SyncDir makes renames and removals in dir durable.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
