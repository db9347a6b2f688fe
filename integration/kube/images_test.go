package kube

import (
	"archive/tar"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

func TestImageHoldsItsFilesAndIsMadeAgainWhenTheyChange(t *testing.T) {
	dir := t.TempDir()
	program, archive := filepath.Join(dir, "program"), filepath.Join(dir, "image.tar")
	if err := os.WriteFile(program, []byte("one"), 0o755); err != nil {
		t.Fatal(err)
	}
	content := files{"/program": {host: program}, "/etc/passwd": {text: "root"}, "/sh": {link: "program"}}
	write := func() os.FileInfo {
		t.Helper()
		if err := content.writeImage(archive, []string{"/program"}, []string{"example.org/a:1", "example.org/b:2"}); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(archive)
		if err != nil {
			t.Fatal(err)
		}
		return info
	}
	first := write()
	if again := write(); !os.SameFile(first, again) {
		t.Error("an archive of the same files was made again")
	}
	if diff := cmp.Diff(map[string]string{"program": "one", "etc/passwd": "root", "sh": "-> program"}, layer(t, archive, "example.org/b:2")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	content["/more"] = file{text: "x"}
	if changed := write(); os.SameFile(first, changed) {
		t.Error("an archive of other files was not made again")
	}
	content["/gone"] = file{host: filepath.Join(dir, "gone")}
	if err := content.writeImage(archive, nil, nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that is missing: %v", err)
	}
}

// layer reads back what an archive's image holds, directories left out.
func layer(t *testing.T, archive, image string) map[string]string {
	t.Helper()
	tag, err := name.NewTag(image)
	if err != nil {
		t.Fatal(err)
	}
	img, err := tarball.ImageFromPath(archive, &tag)
	if err != nil {
		t.Fatal(err)
	}
	layers, err := img.Layers()
	if err != nil || len(layers) != 1 {
		t.Fatalf("%d layers, %v", len(layers), err)
	}
	content, err := layers[0].Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	defer content.Close()
	found := map[string]string{}
	for r := tar.NewReader(content); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return found
		}
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		switch h.Typeflag {
		case tar.TypeSymlink:
			found[h.Name] = "-> " + h.Linkname
		case tar.TypeReg:
			found[h.Name] = string(b)
		}
	}
}
