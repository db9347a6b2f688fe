package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// platform is one architecture's binaries in a directory.
type platform struct {
	Arch string // Go's name
	Dir  string
}

// content is the image of all architectures, with what there is to say of it.
type content struct {
	Index v1.ImageIndex
	Names []string // with tag
	Parts []part
}

// part is one architecture's image.
type part struct {
	Arch  string
	Image v1.Image
	Files []file // sorted by name
	Size  int64  // compressed, with configuration and manifest; bytes
}

type file struct {
	Name string
	Size int64 // bytes
}

// epoch is the time of everything: a real one would give each build another
// digest.
func epoch() time.Time { return time.Unix(0, 0).UTC() }

// assemble makes the image of the platforms' binaries.
func assemble(o options, platforms []platform) (content, error) {
	c := content{Index: mutate.IndexMediaType(empty.Index, types.OCIImageIndex)}
	for _, tag := range append([]string{o.Version}, o.Tags...) {
		c.Names = append(c.Names, o.Repository+":"+tag)
	}
	for _, p := range platforms {
		made, err := assembleOne(o, p)
		if err != nil {
			return content{}, fmt.Errorf("image for linux/%s: %w", p.Arch, err)
		}
		c.Parts = append(c.Parts, made)
		c.Index = mutate.AppendManifests(c.Index, mutate.IndexAddendum{
			Add:        made.Image,
			Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: p.Arch}},
		})
	}
	c.Index = mutate.Annotations(c.Index, labels(o)).(v1.ImageIndex)
	return c, nil
}

func assembleOne(o options, p platform) (part, error) {
	root, files, err := rootFilesystem(p.Dir)
	if err != nil {
		return part{}, err
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(root)), nil
	}, tarball.WithCompressionLevel(gzip.BestCompression), tarball.WithMediaType(types.OCILayer), tarball.WithCompressedCaching)
	if err != nil {
		return part{}, err
	}
	base := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	image, err := mutate.ConfigFile(base, &v1.ConfigFile{
		Architecture: p.Arch,
		OS:           "linux",
		Created:      v1.Time{Time: epoch()},
		RootFS:       v1.RootFS{Type: "layers"},
		Config: v1.Config{
			User:       "0",
			Entrypoint: []string{"/ropewayd"},
			Env:        []string{"PATH=/"},
			WorkingDir: "/",
			Labels:     labels(o),
		},
	})
	if err != nil {
		return part{}, err
	}
	image, err = mutate.Append(image, mutate.Addendum{
		Layer:   layer,
		History: v1.History{Created: v1.Time{Time: epoch()}, CreatedBy: "manifests/image"},
	})
	if err != nil {
		return part{}, err
	}
	image = mutate.Annotations(image, labels(o)).(v1.Image)
	size, err := compressedSize(image)
	return part{Arch: p.Arch, Image: image, Files: files, Size: size}, err
}

// rootFilesystem is a tar of the directory's files, which must be exactly
// those of [binaries].
func rootFilesystem(dir string) ([]byte, []file, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, nil, err
	}
	var there []string
	for _, e := range entries {
		there = append(there, e.Name())
	}
	if want := slices.Sorted(maps.Keys(binaries())); !slices.Equal(there, want) {
		return nil, nil, fmt.Errorf("%s holds %v, and should hold %v; build it anew", dir, there, want)
	}
	var out bytes.Buffer
	var files []file
	w := tar.NewWriter(&out)
	for _, name := range there {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return nil, nil, err
		}
		header := &tar.Header{
			Typeflag: tar.TypeReg, Format: tar.FormatUSTAR,
			Name: name, Mode: 0o755, Size: int64(len(b)), ModTime: epoch(),
		}
		if err := w.WriteHeader(header); err != nil {
			return nil, nil, err
		}
		if _, err := w.Write(b); err != nil {
			return nil, nil, err
		}
		files = append(files, file{Name: "/" + name, Size: header.Size})
	}
	return out.Bytes(), files, w.Close()
}

// labels are the image's, as the OCI image specification names them.
func labels(o options) map[string]string {
	return map[string]string{
		"org.opencontainers.image.title":         "Ropeway",
		"org.opencontainers.image.description":   "A pod network for Kubernetes: CNI plugin and node daemon",
		"org.opencontainers.image.version":       o.Version,
		"org.opencontainers.image.source":        "https://github.com/ropeway-net/ropeway",
		"org.opencontainers.image.documentation": "https://github.com/ropeway-net/ropeway/blob/main/docs/install.md",
		"org.opencontainers.image.vendor":        "The Ropeway authors",
		"org.opencontainers.image.licenses":      "Apache-2.0",
	}
}

// compressedSize is what a node downloads.
func compressedSize(image v1.Image) (int64, error) {
	m, err := image.Manifest()
	if err != nil {
		return 0, err
	}
	size, err := image.Size()
	size += m.Config.Size
	for _, l := range m.Layers {
		size += l.Size
	}
	return size, err
}

func checkTag(tag string) error {
	if !regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,127}$`).MatchString(tag) {
		return fmt.Errorf("%q is no image tag; use letters, digits, '_', '.', '-'", tag)
	}
	return nil
}
