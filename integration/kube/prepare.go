package kube

import (
	"context"
	"io"
)

// Prepare builds programs and images for clusters of the project at root.
func Prepare(ctx context.Context, root string, log io.Writer) error {
	dir := BuildDir(root)
	if err := Build(ctx, root, dir, log); err != nil {
		return err
	}
	return MakeImages(ctx, root, dir, log)
}
