package main

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
)

// write puts the image into an archive in the OCI image layout, by rename.
func (c content) write(path string) (err error) {
	dir := filepath.Dir(path)
	if err = os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	tmp, err := os.CreateTemp(dir, ".tmp-image-*")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer func() {
		if err != nil {
			_ = os.Remove(tmp.Name())
			err = fmt.Errorf("write %s: %w", path, err)
		}
	}()
	err = errors.Join(c.writeTo(tmp), tmp.Chmod(0o644), tmp.Close())
	if err != nil {
		return err
	}
	return os.Rename(tmp.Name(), path)
}

// writeTo writes the archive, each blob once and in a fixed order.
func (c content) writeTo(w io.Writer) error {
	a := &archive{tar: tar.NewWriter(w), written: map[v1.Hash]bool{}}
	index, err := c.layoutIndex()
	if err != nil {
		return err
	}
	a.file("oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`))
	a.file("index.json", index)
	for _, p := range c.Parts {
		a.image(p.Image)
	}
	a.manifest(c.Index)
	return errors.Join(a.err, a.tar.Close())
}

// layoutIndex is index.json: the multi-architecture image under each of its
// names. Of the two annotations containerd reads the first, podman and skopeo
// the second.
func (c content) layoutIndex() ([]byte, error) {
	m := v1.IndexManifest{SchemaVersion: 2, MediaType: "application/vnd.oci.image.index.v1+json"}
	for _, name := range c.Names {
		d, err := partial.Descriptor(c.Index)
		if err != nil {
			return nil, err
		}
		m.Manifests = append(m.Manifests, v1.Descriptor{
			MediaType: d.MediaType, Size: d.Size, Digest: d.Digest,
			Annotations: map[string]string{
				"io.containerd.image.name":          name,
				"org.opencontainers.image.ref.name": name,
			},
		})
	}
	return json.Marshal(m)
}

// archive is a tar that is being written. After the first error nothing more
// is.
type archive struct {
	tar     *tar.Writer
	written map[v1.Hash]bool
	err     error
}

func (a *archive) file(name string, b []byte) {
	if a.err != nil {
		return
	}
	a.err = a.tar.WriteHeader(&tar.Header{
		Typeflag: tar.TypeReg, Format: tar.FormatUSTAR,
		Name: name, Mode: 0o644, Size: int64(len(b)), ModTime: epoch(),
	})
	if a.err == nil {
		_, a.err = io.Copy(a.tar, bytes.NewReader(b))
	}
}

func (a *archive) blob(hash v1.Hash, b []byte) {
	if a.written[hash] {
		return
	}
	a.written[hash] = true
	a.file("blobs/"+hash.Algorithm+"/"+hash.Hex, b)
}

func (a *archive) image(image v1.Image) {
	layers, err := image.Layers()
	a.err = errors.Join(a.err, err)
	for _, l := range layers {
		a.layer(l)
	}
	hash, hashErr := image.ConfigName()
	config, configErr := image.RawConfigFile()
	a.err = errors.Join(a.err, hashErr, configErr)
	a.blob(hash, config)
	a.manifest(image)
}

func (a *archive) layer(l v1.Layer) {
	if a.err != nil {
		return
	}
	hash, err := l.Digest()
	if err != nil {
		a.err = err
		return
	}
	r, err := l.Compressed()
	if err != nil {
		a.err = err
		return
	}
	b, err := io.ReadAll(r)
	a.err = errors.Join(err, r.Close())
	a.blob(hash, b)
}

// manifest writes that of an image or an index.
func (a *archive) manifest(m interface {
	Digest() (v1.Hash, error)
	RawManifest() ([]byte, error)
}) {
	hash, hashErr := m.Digest()
	b, err := m.RawManifest()
	a.err = errors.Join(a.err, hashErr, err)
	a.blob(hash, b)
}
