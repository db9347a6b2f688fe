// Package hostprogram finds a program of this machine together with the
// libraries that it is linked to, so that a guest or an image can be given
// exactly those files.
package hostprogram

import (
	"context"
	"debug/elf"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// Find returns the absolute path of a program in $PATH and those of all
// libraries that it needs, its loader included; a static one needs none. A
// program that is not there fails with [exec.ErrNotFound].
func Find(ctx context.Context, name string) (path string, libraries []string, err error) {
	path, err = exec.LookPath(name)
	if err != nil {
		return "", nil, err
	}
	if Static(path) {
		return path, nil, nil
	}
	cmd := exec.CommandContext(ctx, "ldd", path)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", nil, fmt.Errorf("ldd %s: %w: %s", path, err, strings.TrimSpace(string(out)))
	}
	return path, parseLDD(string(out)), nil
}

// Static tells whether a program asks for no dynamic loader.
func Static(path string) bool {
	f, err := elf.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	return !slices.ContainsFunc(f.Progs, func(p *elf.Prog) bool { return p.Type == elf.PT_INTERP })
}

// parseLDD finds the absolute paths in what ldd prints: "name => path (0x…)",
// and "path (0x…)" for the loader.
func parseLDD(text string) []string {
	var paths []string
	for line := range strings.Lines(text) {
		for _, word := range strings.Fields(line) {
			if filepath.IsAbs(word) {
				paths = append(paths, word)
				break
			}
		}
	}
	return paths
}
