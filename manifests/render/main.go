// Command render makes the manifests that operators apply from their kustomize
// sources. It is a module of its own, because of what kustomize and, in its
// tests, Helm depend on.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

// manifests are the rendered files, with the overlay that each is made from.
func manifests() map[string]string {
	return map[string]string{
		"ropeway.yaml":                    "vxlan",
		"ropeway-vxlan.yaml":              "vxlan",
		"ropeway-vxlan-cross-subnet.yaml": "vxlan-cross-subnet",
		"ropeway-ipip.yaml":               "ipip",
		"ropeway-ipip-cross-subnet.yaml":  "ipip-cross-subnet",
		"ropeway-direct.yaml":             "direct",
	}
}

func main() {
	if err := run(".."); err != nil {
		fmt.Fprintln(os.Stderr, "render:", err)
		os.Exit(1)
	}
}

// run writes all manifests into dir, which holds the sources, too.
func run(dir string) error {
	for name, overlay := range manifests() {
		content, err := render(dir, overlay)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			return fmt.Errorf("write the manifest: %w", err)
		}
	}
	return nil
}

// render returns what `kubectl kustomize overlays/OVERLAY` prints, below a line
// that says so.
func render(dir, overlay string) ([]byte, error) {
	source := filepath.Join(dir, "overlays", overlay)
	resources, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), source)
	if err != nil {
		return nil, fmt.Errorf("render %s: %w", source, err)
	}
	content, err := resources.AsYaml()
	if err != nil {
		return nil, fmt.Errorf("render %s: %w", source, err)
	}
	header := fmt.Sprintf("# Rendered from manifests/overlays/%s by `make manifests`: change that, not this.\n", overlay)
	return append([]byte(header), content...), nil
}
