package kube

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

const cgroupRoot = "/sys/fs/cgroup"

// hierarchies are the mount points of control groups: one per controller in
// version 1, the root alone in version 2.
func hierarchies() ([]string, error) {
	var stat unix.Statfs_t
	if err := unix.Statfs(cgroupRoot, &stat); err != nil {
		return nil, err
	}
	if stat.Type == unix.CGROUP2_SUPER_MAGIC {
		return []string{cgroupRoot}, nil
	}
	entries, err := os.ReadDir(cgroupRoot)
	if err != nil {
		return nil, err
	}
	var found []string
	for _, e := range entries {
		if e.IsDir() {
			found = append(found, filepath.Join(cgroupRoot, e.Name()))
		}
	}
	return found, nil
}

// makeCgroup makes the group in every hierarchy. In a cpuset of version 1 no
// process can be until it has been given processors and memory.
func makeCgroup(name string) error {
	all, err := hierarchies()
	if err != nil {
		return err
	}
	for _, hierarchy := range all {
		path := hierarchy
		for _, element := range strings.Split(name, "/") {
			parent := path
			path = filepath.Join(path, element)
			if err := os.Mkdir(path, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
				return err
			}
			if filepath.Base(hierarchy) != "cpuset" {
				continue
			}
			for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
				b, err := os.ReadFile(filepath.Join(parent, file))
				if err == nil {
					err = os.WriteFile(filepath.Join(path, file), b, 0o644)
				}
				if err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// removeCgroup removes the groups that a pattern names, with everything below
// them. Processes that were killed just now leave them a moment later.
func removeCgroup(ctx context.Context, pattern string) error {
	all, err := hierarchies()
	if err != nil {
		return err
	}
	return until(ctx, func() error {
		var errs []error
		for _, hierarchy := range all {
			groups, err := filepath.Glob(filepath.Join(hierarchy, pattern))
			errs = append(errs, err)
			for _, group := range groups {
				errs = append(errs, removeGroups(group))
			}
		}
		return errors.Join(errs...)
	})
}

// removeGroups removes directories from below; a group's files go with it.
func removeGroups(top string) error {
	var dirs []string
	err := filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil && d.IsDir() {
			dirs = append(dirs, path)
		}
		return err
	})
	if err != nil {
		return err
	}
	for _, dir := range slices.Backward(dirs) {
		if err := unix.Rmdir(dir); err != nil && !errors.Is(err, unix.ENOENT) {
			return &fs.PathError{Op: "rmdir", Path: dir, Err: err}
		}
	}
	return nil
}

// removeEmptyCgroups removes the group that all clusters share, unless one is
// still in it.
func removeEmptyCgroups() error {
	all, err := hierarchies()
	for _, hierarchy := range all {
		_ = os.Remove(filepath.Join(hierarchy, "ropeway-kube"))
	}
	return err
}
