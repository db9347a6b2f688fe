package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

const (
	ourModule       = "github.com/ropeway-net/ropeway"
	referenceModule = "github.com/containernetworking/plugins"
)

// binaries are what is measured, all built here in the same way.
type binaries struct {
	dir      string
	states   string // directory for the contenders' state
	ropeway  string
	ropewayd string
	empty    string
}

// buildBinaries builds our plugins, the pinned reference plugins and an empty
// program into dir. The reference has a Go module of its own, so that ours
// does not depend on it.
func buildBinaries(ctx context.Context, dir string) (binaries, error) {
	root, err := goCommand(ctx, "", "list", "-m", "-f", "{{.Dir}}", ourModule)
	if err != nil {
		return binaries{}, fmt.Errorf("find the project (run bench inside it): %w", err)
	}
	root = strings.TrimSpace(root)
	built := filepath.Join(dir, "built")
	empty := filepath.Join(dir, "src", "empty")
	if err := os.MkdirAll(empty, 0o755); err != nil {
		return binaries{}, err
	}
	for name, text := range map[string]string{
		"go.mod":  "module empty\n\ngo 1.26.0\n",
		"main.go": "package main\n\nfunc main() {}\n",
	} {
		if err := os.WriteFile(filepath.Join(empty, name), []byte(text), 0o644); err != nil {
			return binaries{}, err
		}
	}
	for _, b := range []struct {
		module   string
		packages []string
	}{
		{root, []string{
			ourModule + "/plugins/ropeway", ourModule + "/plugins/ropeway-ipam", ourModule + "/daemon/ropewayd",
		}},
		{filepath.Join(root, "integration", "bench", "reference"), []string{
			referenceModule + "/plugins/main/ptp", referenceModule + "/plugins/main/bridge",
			referenceModule + "/plugins/ipam/host-local", referenceModule + "/plugins/meta/portmap",
		}},
		{empty, []string{"."}},
	} {
		args := append([]string{"build", "-trimpath", "-ldflags=-s -w", "-o", built + "/"}, b.packages...)
		if _, err := goCommand(ctx, b.module, args...); err != nil {
			return binaries{}, err
		}
	}
	if err := install(built, dir); err != nil {
		return binaries{}, err
	}
	return binaries{
		dir:      dir,
		ropeway:  filepath.Join(dir, "ropeway"),
		ropewayd: filepath.Join(dir, "ropewayd"),
		empty:    filepath.Join(dir, "empty"),
	}, nil
}

// install copies what is built, as whatever installs plugins does: programs that
// the linker has just written start 0.4 ms slower, for they lie in the page cache
// in smaller pieces.
func install(from, to string) error {
	programs, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	for _, p := range programs {
		content, err := os.ReadFile(filepath.Join(from, p.Name()))
		if err != nil {
			return err
		}
		path := filepath.Join(to, p.Name())
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := os.WriteFile(path, content, 0o755); err != nil {
			return err
		}
	}
	return nil
}

func goCommand(ctx context.Context, dir string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off")
	var complaint strings.Builder
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("go %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(complaint.String()))
	}
	return string(out), nil
}

// size is how much disk a program takes.
type size struct {
	name  string
	bytes int64
}

func (b binaries) sizes() ([]size, error) {
	var sizes []size
	for _, name := range []string{"ropeway", "ptp", "bridge", "host-local", "portmap", "empty"} {
		info, err := os.Stat(filepath.Join(b.dir, name))
		if err != nil {
			return nil, err
		}
		sizes = append(sizes, size{name, info.Size()})
	}
	return sizes, nil
}
