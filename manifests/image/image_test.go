package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

func testOptions() options {
	return options{Repository: "example.net/ropeway", Version: "v1.2.3", Tags: []string{"main"}, Arches: []string{"amd64", "arm64"}}
}

// standIns makes directories with small files in place of the binaries, whose
// times and modes are as given.
func standIns(t *testing.T, o options, when time.Time, mode os.FileMode) []platform {
	t.Helper()
	var out []platform
	for _, arch := range o.Arches {
		dir := t.TempDir()
		for name := range binaries() {
			path := filepath.Join(dir, name)
			if err := os.WriteFile(path, []byte(name+" for "+arch), mode); err != nil {
				t.Fatal(err)
			}
			if err := os.Chtimes(path, when, when); err != nil {
				t.Fatal(err)
			}
		}
		out = append(out, platform{Arch: arch, Dir: dir})
	}
	return out
}

func archiveOf(t *testing.T, o options, platforms []platform) []byte {
	t.Helper()
	c, err := assemble(o, platforms)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "build", "image.tar")
	if err = c.write(path); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// untar returns the files of a tar, and their names in its order.
func untar(t *testing.T, b []byte) (map[string][]byte, []tar.Header) {
	t.Helper()
	files := map[string][]byte{}
	var headers []tar.Header
	for r := tar.NewReader(bytes.NewReader(b)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files, headers
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		files[h.Name] = content
		headers = append(headers, *h)
	}
}

func TestSameBinariesMakeTheSameArchive(t *testing.T) {
	o := testOptions()
	first := archiveOf(t, o, standIns(t, o, time.Now(), 0o600))
	second := archiveOf(t, o, standIns(t, o, time.Unix(1e9, 0), 0o755))
	if !bytes.Equal(first, second) {
		t.Error("two archives of the same binaries differ")
	}
	o.Version = "v1.2.4"
	if other := archiveOf(t, o, standIns(t, o, time.Now(), 0o600)); bytes.Equal(first, other) {
		t.Error("two versions make the same archive")
	}
}

func decode[T any](t *testing.T, b []byte) T {
	t.Helper()
	var v T
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatalf("%v in %q", err, b)
	}
	return v
}

func TestArchiveHoldsOneImageUnderEachNameForEachArchitecture(t *testing.T) {
	o := testOptions()
	files, _ := untar(t, archiveOf(t, o, standIns(t, o, time.Now(), 0o755)))
	blob := func(h v1.Hash) []byte {
		b, ok := files["blobs/sha256/"+h.Hex]
		if sum := sha256.Sum256(b); !ok || hex.EncodeToString(sum[:]) != h.Hex {
			t.Fatalf("blob %s is not there, or another", h)
		}
		return b
	}
	if got := string(files["oci-layout"]); got != `{"imageLayoutVersion":"1.0.0"}` {
		t.Errorf("oci-layout %s", got)
	}
	top := decode[v1.IndexManifest](t, files["index.json"])
	var names []string
	for _, m := range top.Manifests {
		names = append(names, m.Annotations["io.containerd.image.name"])
		if m.Digest != top.Manifests[0].Digest || m.Annotations["org.opencontainers.image.ref.name"] != names[len(names)-1] {
			t.Errorf("entry %+v", m)
		}
	}
	if diff := cmp.Diff([]string{"example.net/ropeway:v1.2.3", "example.net/ropeway:main"}, names); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
	index := decode[v1.IndexManifest](t, blob(top.Manifests[0].Digest))
	var arches []string
	for _, m := range index.Manifests {
		arches = append(arches, m.Platform.String())
		manifest := decode[v1.Manifest](t, blob(m.Digest))
		config := decode[v1.ConfigFile](t, blob(manifest.Config.Digest))
		checkConfig(t, m.Platform.Architecture, config)
		if len(manifest.Layers) != 1 {
			t.Fatalf("%d layers", len(manifest.Layers))
		}
		checkLayer(t, m.Platform.Architecture, blob(manifest.Layers[0].Digest))
	}
	if diff := cmp.Diff([]string{"linux/amd64", "linux/arm64"}, arches); diff != "" {
		t.Errorf("architectures (-want +got):\n%s", diff)
	}
}

func checkConfig(t *testing.T, arch string, c v1.ConfigFile) {
	t.Helper()
	if c.Architecture != arch || c.OS != "linux" || c.Config.User != "0" || !slices.Equal(c.Config.Entrypoint, []string{"/ropewayd"}) {
		t.Errorf("configuration %+v", c)
	}
	if !c.Created.Equal(epoch()) || c.Config.Labels["org.opencontainers.image.version"] != "v1.2.3" {
		t.Errorf("configuration %+v", c)
	}
}

func checkLayer(t *testing.T, arch string, compressed []byte) {
	t.Helper()
	r, err := gzip.NewReader(bytes.NewReader(compressed))
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	files, headers := untar(t, b)
	var names []string
	for _, h := range headers {
		names = append(names, h.Name)
		if h.Uid != 0 || h.Gid != 0 || h.Mode != 0o755 || !h.ModTime.Equal(epoch()) || string(files[h.Name]) != h.Name+" for "+arch {
			t.Errorf("%s: %+v holds %q", h.Name, h, files[h.Name])
		}
	}
	if diff := cmp.Diff([]string{"loopback", "ropeway", "ropeway-ipam", "ropewayctl", "ropewayd"}, names); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}

func TestImageOfOtherFilesIsRefused(t *testing.T) {
	o := testOptions()
	for name, change := range map[string]func(dir string) error{
		"one more": func(dir string) error { return os.WriteFile(filepath.Join(dir, "shell"), nil, 0o755) },
		"one less": func(dir string) error { return os.Remove(filepath.Join(dir, "loopback")) },
	} {
		t.Run(name, func(t *testing.T) {
			platforms := standIns(t, o, time.Now(), 0o755)
			if err := change(platforms[1].Dir); err != nil {
				t.Fatal(err)
			}
			if _, err := assemble(o, platforms); err == nil || !strings.Contains(err.Error(), "arm64") {
				t.Errorf("error %v", err)
			}
		})
	}
}

func TestArchitectureThatWeighsTooMuchIsAnError(t *testing.T) {
	o := testOptions()
	c, err := assemble(o, standIns(t, o, time.Now(), 0o755))
	if err != nil {
		t.Fatal(err)
	}
	if err = c.oversize(sizeLimit); err != nil {
		t.Error(err)
	}
	if err = c.oversize(c.Parts[0].Size - 1); err == nil || !strings.Contains(err.Error(), "linux/amd64") {
		t.Errorf("error %v", err)
	}
	var out strings.Builder
	c.print(&out)
	digest, err := c.Index.Digest()
	if err != nil || !strings.Contains(out.String(), "example.net/ropeway:main@"+digest.String()) || strings.Count(out.String(), "/ropeway-ipam") != 2 {
		t.Errorf("report, %v:\n%s", err, out.String())
	}
}

func TestOptionsAreChecked(t *testing.T) {
	o, err := parseOptions([]string{"-version", "v1", "-arch", "arm64,amd64,arm64", "-tags", "main"})
	if err != nil || !slices.Equal(o.Arches, []string{"amd64", "arm64"}) || !slices.Equal(o.Tags, []string{"main"}) {
		t.Errorf("%+v, %v", o, err)
	}
	for _, args := range [][]string{{"-version", "a/b"}, {"-version", ""}, {"-tags", "a:b"}, {"-arch", ","}} {
		if _, err := parseOptions(args); err == nil {
			t.Errorf("%q is accepted", args)
		}
	}
}
