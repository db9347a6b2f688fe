package kube

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

// Prepare builds programs and images for clusters of the project at root.
func Prepare(ctx context.Context, root string, log io.Writer) error {
	dir := BuildDir(root)
	if err := Build(ctx, root, dir, log); err != nil {
		return err
	}
	if err := MakeImages(ctx, root, dir, log); err != nil {
		return err
	}
	return makeRopewayImage(ctx, root, filepath.Join(dir, "images"))
}

// makeRopewayImage makes the image as `make image` does, for this machine
// alone and under the name by which the manifests ask for it.
func makeRopewayImage(ctx context.Context, root, dir string) error {
	wanted, err := ManifestImage(filepath.Join(root, "manifests", "ropeway.yaml"))
	if err != nil {
		return err
	}
	tag := wanted[strings.LastIndex(wanted, ":")+1:]
	cmd := exec.CommandContext(ctx, "go", "run", "./manifests/image", "-version", tag, "-arch", runtime.GOARCH, "-output", dir)
	cmd.Dir, cmd.Env = root, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("make the image of ropeway: %w\n%s", err, out)
	}
	return nil
}
