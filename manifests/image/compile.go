package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// binaries are the files of the image, by the package that each is made from.
// The daemon is the entrypoint; it copies the plugins to the host.
func binaries() map[string]string {
	return map[string]string{
		"ropewayd":     "./daemon/ropewayd",
		"ropewayctl":   "./ropewayctl",
		"ropeway":      "./plugins/ropeway",
		"ropeway-ipam": "./plugins/ropeway-ipam",
		"loopback":     "./plugins/loopback",
	}
}

// compile builds the static binaries of an architecture into dir. Nothing of
// the machine, the directory or the time gets into them.
func compile(ctx context.Context, o options, arch, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("directory for the binaries: %w", err)
	}
	args := []string{
		"build", "-trimpath", "-buildvcs=false", "-mod=readonly",
		"-ldflags", "-s -w -buildid= -X main.version=" + o.Version, "-o", dir + string(filepath.Separator),
	}
	for _, pkg := range binaries() {
		args = append(args, pkg)
	}
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = o.Source
	// Levels and flags that a machine's environment sets would change the code.
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch, "GOFLAGS=", "GOAMD64=v1", "GOARM64=v8.0", "GOEXPERIMENT=")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build for linux/%s: %w\n%s", arch, err, out)
	}
	return nil
}
