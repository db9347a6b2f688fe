// Package install puts the CNI plugins into a node's plugin directory and takes
// them out again, while a container runtime may execute them at any moment.
package install

import (
	"bytes"
	"context"
	"debug/buildinfo"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/ropeway-net/ropeway/statedir"
)

const mode = 0o755

// plugin is one file to install.
type plugin struct {
	name string
	// yields says that another project's file of that name is left alone.
	yields bool
}

func plugins() []plugin {
	return []plugin{{name: "ropeway"}, {name: "ropeway-ipam"}, {name: "loopback", yields: true}}
}

// Done says what became of one file.
type Done struct {
	Path   string
	Action Action
}

// Action is what was done to a file, as a past participle to print.
type Action string

// What Plugins and Remove do to a file.
const (
	Installed Action = "installed"
	Unchanged Action = "unchanged, it is the same already"
	Foreign   Action = "left alone, it is another project's"
	Removed   Action = "removed"
	Absent    Action = "not there"
)

// Plugins copies the plugins from one directory to another: each is replaced
// by rename, so that whoever executes it meantime gets the old or the new one.
// All are written before the first is renamed; a full disk therefore changes
// nothing. A loopback plugin of another project stays.
func Plugins(ctx context.Context, from, to string) ([]Done, error) {
	if err := os.MkdirAll(to, mode); err != nil {
		return nil, fmt.Errorf("plugin directory %s: %w", to, explain(err, to))
	}
	unlock, err := lock(ctx, to)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err := refuseNoexec(to); err != nil {
		return nil, err
	}
	removeLeftovers(to)
	var done []Done
	var replace []replacement
	defer func() {
		for _, r := range replace {
			_ = os.Remove(r.tmp) // those that were renamed are gone
		}
	}()
	for _, p := range plugins() {
		path := filepath.Join(to, p.name)
		r, action, err := prepare(p, filepath.Join(from, p.name), path)
		if err != nil {
			return nil, fmt.Errorf("install %s: %w", path, explain(err, to))
		}
		done = append(done, Done{Path: path, Action: action})
		if action == Installed {
			replace = append(replace, r)
		}
	}
	for _, r := range replace {
		if err := os.Rename(r.tmp, r.path); err != nil {
			return nil, fmt.Errorf("install %s: %w", r.path, explain(err, to))
		}
	}
	if err := statedir.SyncDir(to); err != nil {
		return nil, fmt.Errorf("plugin directory %s: %w", to, explain(err, to))
	}
	return done, nil
}

// Remove deletes the plugins that are Ropeway's, and what an interrupted
// installation left.
func Remove(ctx context.Context, dir string) ([]Done, error) {
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	unlock, err := lock(ctx, dir)
	if err != nil {
		return nil, err
	}
	defer unlock()
	removeLeftovers(dir)
	var done []Done
	var errs []error
	for _, p := range plugins() {
		d := Done{Path: filepath.Join(dir, p.name), Action: Removed}
		switch _, err := os.Lstat(d.Path); {
		case errors.Is(err, fs.ErrNotExist):
			d.Action = Absent
		case p.yields && !isOurs(d.Path, p.name):
			d.Action = Foreign
		default:
			if err = statedir.Remove(d.Path); err != nil {
				errs = append(errs, fmt.Errorf("remove %s: %w", d.Path, explain(err, dir)))
				continue
			}
		}
		done = append(done, d)
	}
	return done, errors.Join(errs...)
}

// replacement is a file that has been written and must only be renamed.
type replacement struct {
	tmp, path string
}

// prepare writes the new file beside the old one, if they differ.
func prepare(p plugin, from, path string) (replacement, Action, error) {
	content, err := os.ReadFile(from)
	if err != nil {
		return replacement{}, "", fmt.Errorf("the image is incomplete: %w", err)
	}
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return replacement{}, "", err
	case info.IsDir():
		return replacement{}, "", errors.New("a directory is in the way; move it away")
	case p.yields && !isOurs(path, p.name):
		return replacement{}, Foreign, nil
	case info.Mode().Perm() == mode && info.Size() == int64(len(content)) && holds(path, content):
		return replacement{}, Unchanged, nil
	}
	tmp, err := writeBeside(path, content)
	return replacement{tmp: tmp, path: path}, Installed, err
}

func holds(path string, content []byte) bool {
	there, err := os.ReadFile(path)
	return err == nil && bytes.Equal(there, content)
}

// writeBeside returns the name of a temporary file in path's directory that
// holds content, durably. It is closed: a file that anybody has open for
// writing cannot be executed.
func writeBeside(path string, content []byte) (_ string, err error) {
	tmp, err := os.CreateTemp(filepath.Dir(path), tempPrefix(filepath.Base(path))+"*")
	if err != nil {
		return "", err
	}
	_, err = tmp.Write(content)
	if err == nil {
		err = tmp.Chmod(mode)
	}
	if err == nil {
		err = tmp.Sync()
	}
	if err = errors.Join(err, tmp.Close()); err != nil {
		_ = os.Remove(tmp.Name())
		return "", err
	}
	return tmp.Name(), nil
}

func tempPrefix(name string) string { return statedir.TempPrefix + name + "." }

// removeLeftovers removes what a crash left. The lock is held: nobody else is
// writing them.
func removeLeftovers(dir string) {
	for _, p := range plugins() {
		found, _ := filepath.Glob(filepath.Join(dir, tempPrefix(p.name)+"*"))
		for _, path := range found {
			_ = os.Remove(path)
		}
	}
}

// isOurs asks the Go build information in the file, so that nothing has to be
// remembered about who installed it.
func isOurs(path, name string) bool {
	info, err := buildinfo.ReadFile(path)
	return err == nil && strings.HasSuffix(info.Path, "/ropeway/plugins/"+name)
}

// refuseNoexec names what would otherwise be told by each pod that does not
// start.
func refuseNoexec(dir string) error {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return fmt.Errorf("plugin directory %s: %w", dir, err)
	}
	if s.Flags&unix.ST_NOEXEC != 0 {
		return fmt.Errorf("plugin directory %s: its file system is mounted noexec, no plugin can run from there; remount it with exec, or give the container runtime and --bin-dir another directory", dir)
	}
	return nil
}

// explain adds the remedy. In a container without CAP_DAC_OVERRIDE root is
// refused, too, where a directory belongs to another user.
func explain(err error, dir string) error {
	if errors.Is(err, fs.ErrPermission) {
		if info, statErr := os.Stat(dir); statErr == nil {
			if s, ok := info.Sys().(*syscall.Stat_t); ok && s.Uid != uint32(os.Geteuid()) {
				return fmt.Errorf("%w; the directory belongs to user %d: run chown root on it, or grant the capability DAC_OVERRIDE", err, s.Uid)
			}
		}
	}
	return statedir.Explain(err)
}
