package kube

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/ropeway-net/ropeway/integration/hostprogram"
)

// Names of images as Kubernetes and its tests ask for them. None is pulled:
// their content is made here from the same sources.
const (
	pauseImage   = "registry.k8s.io/pause:3.10.2"
	corednsImage = "registry.k8s.io/coredns/coredns:v1.15.0"
	e2eImages    = "registry.k8s.io/e2e-test-images/"
	agnhostImage = e2eImages + "agnhost:2.66.1"
)

// shellTools are what the tests run inside their images, beside busybox.
func shellTools() []string {
	return []string{"bash", "conntrack", "curl", "dig", "nslookup", "nc", "ip", "ss", "iperf", "socat", "getent", "ping", "wget"}
}

// ToolPackages are the Debian packages with the programs that images and nodes
// need.
func ToolPackages() []string {
	return []string{
		"bind9-dnsutils", "busybox-static", "conntrack", "curl", "iperf", "iproute2", "iptables", "iputils-ping", "libc-bin",
		"libseccomp-dev", "netcat-openbsd", "nftables", "pkg-config", "socat", "util-linux", "wget",
	}
}

// MakeImages writes the images' archives to dir/images, with the programs that
// [Build] left in dir/bin. root is the project's directory.
func MakeImages(ctx context.Context, root, dir string, log io.Writer) error {
	fmt.Fprintln(log, "make images")
	images := filepath.Join(dir, "images")
	if err := os.MkdirAll(images, 0o755); err != nil {
		return err
	}
	bin := func(program string) string { return filepath.Join(dir, "bin", program) }
	if err := buildPause(ctx, root, bin("pause")); err != nil {
		return err
	}
	agnhost, err := agnhostFiles(ctx, root, bin("agnhost"))
	if err != nil {
		return err
	}
	for _, image := range []struct {
		archive string
		files   files
		command []string // program and what it does unless a pod says otherwise
		names   []string
	}{
		{"pause", files{"/pause": {host: bin("pause")}}, []string{"/pause"}, []string{pauseImage}},
		{"coredns", files{"/coredns": {host: bin("coredns")}}, []string{"/coredns"}, []string{corednsImage}},
		{"conntrack-test", files{"/regression-issue-74839": {host: bin("regression-issue-74839")}}, []string{"/regression-issue-74839"},
			[]string{e2eImages + "regression-issue-74839:1.5"}},
		{"agnhost", agnhost, []string{"/agnhost", "pause"}, []string{agnhostImage, e2eImages + "glibc-dns-testing:2.1.1", e2eImages + "busybox:1.37.0-2", "registry.k8s.io/build-image/distroless-iptables:v0.9.9"}},
	} {
		if err := image.files.writeImage(filepath.Join(images, image.archive+".tar"), image.command, image.names); err != nil {
			return fmt.Errorf("image %s: %w", image.archive, err)
		}
	}
	return nil
}

func buildPause(ctx context.Context, root, target string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", target, "./integration/kube/pause")
	cmd.Dir, cmd.Env = root, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build pause: %w\n%s", err, out)
	}
	return nil
}

// files are an image's content by absolute path.
type files map[string]file

type file struct {
	host string // path on this machine; empty: text
	text string
	link string // target of a symbolic link
	mode int64  // 0: 0755 for what has a host path, else 0644
}

// agnhostFiles are the test program, what it expects beside it, and a shell
// with the tools that tests run next to it.
func agnhostFiles(ctx context.Context, root, program string) (files, error) {
	sources, err := moduleDir(ctx, filepath.Join(root, "integration", "kube", "upstream", "kubernetes"), "k8s.io/kubernetes")
	if err != nil {
		return nil, err
	}
	porter := filepath.Join(sources, "test", "images", "agnhost", "porter")
	content := files{
		"/agnhost":           {host: program},
		"/agnhost-2":         {link: "agnhost"},
		"/coredns":           {host: filepath.Join(filepath.Dir(program), "coredns")}, // some tests run a name server of their own
		"/localhost.crt":     {host: filepath.Join(porter, "localhost.crt"), mode: 0o644},
		"/localhost.key":     {host: filepath.Join(porter, "localhost.key"), mode: 0o644},
		"/etc/passwd":        {text: "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"},
		"/etc/group":         {text: "root:x:0:\nnogroup:x:65534:\n"},
		"/etc/nsswitch.conf": {text: "passwd: files\ngroup: files\nhosts: files dns\n"},
		"/etc/services":      {host: "/etc/services", mode: 0o644},
		"/etc/protocols":     {host: "/etc/protocols", mode: 0o644},
	}
	for _, tool := range shellTools() {
		path, libraries, err := hostprogram.Find(ctx, tool)
		if err != nil {
			return nil, fmt.Errorf("put %s into an image: %w", tool, err)
		}
		content["/usr/bin/"+tool] = file{host: path}
		for _, library := range libraries {
			content[library] = file{host: library}
		}
	}
	return content, addBusybox(ctx, content)
}

// addBusybox adds every applet that is not there yet.
func addBusybox(ctx context.Context, content files) error {
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		return err
	}
	out, err := exec.CommandContext(ctx, busybox, "--list").Output()
	if err != nil {
		return fmt.Errorf("busybox --list: %w", err)
	}
	content["/usr/bin/busybox"] = file{host: busybox}
	// busybox's own shell prefers its applets to the real programs.
	content["/usr/bin/sh"] = file{link: "bash"}
	for _, applet := range strings.Fields(string(out)) {
		if _, there := content["/usr/bin/"+applet]; !there {
			content["/usr/bin/"+applet] = file{link: "busybox"}
		}
	}
	content["/bin"] = file{link: "usr/bin"}
	return nil
}

// moduleDir is where Go keeps a module's sources.
func moduleDir(ctx context.Context, dir, module string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", module)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "GOWORK=off")
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("find the sources of %s: %w", module, err)
	}
	return strings.TrimSpace(string(out)), nil
}

// writeImage writes an archive with one layer under all names, unless it has
// been made of the same things already.
func (f files) writeImage(archive string, command, names []string) error {
	recipe, err := f.recipe(command, names)
	if err != nil {
		return err
	}
	made, err := os.ReadFile(archive + ".recipe")
	if err == nil && string(made) == recipe {
		return nil
	}
	layer, err := tarball.LayerFromOpener(f.tar)
	if err != nil {
		return err
	}
	image, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		return err
	}
	config, err := image.ConfigFile()
	if err != nil {
		return err
	}
	config = config.DeepCopy()
	config.Architecture, config.OS = runtime.GOARCH, "linux"
	config.Config = v1.Config{Entrypoint: command[:1], Cmd: command[1:], Env: []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin:/"}}
	if image, err = mutate.ConfigFile(image, config); err != nil {
		return err
	}
	tags := map[name.Tag]v1.Image{}
	for _, n := range names {
		tag, err := name.NewTag(n)
		if err != nil {
			return err
		}
		tags[tag] = image
	}
	partial := archive + ".partial"
	if err := tarball.MultiWriteToFile(partial, tags); err != nil {
		return err
	}
	if err := os.Rename(partial, archive); err != nil {
		return err
	}
	return os.WriteFile(archive+".recipe", []byte(recipe), 0o644)
}

// recipe lists what an archive is made of: names, sizes and times of change.
func (f files) recipe(command, names []string) (string, error) {
	lines := []string{fmt.Sprint(command), fmt.Sprint(names)}
	for path, entry := range f {
		line := fmt.Sprintf("%s %+v", path, entry)
		if entry.host != "" {
			info, err := os.Stat(entry.host)
			if err != nil {
				return "", fmt.Errorf("%w; is its package installed? see ToolPackages", err)
			}
			line += fmt.Sprintf(" %d %s", info.Size(), info.ModTime())
		}
		lines = append(lines, line)
	}
	slices.Sort(lines[2:])
	return strings.Join(lines, "\n"), nil
}

// tar returns the files as a layer. Directories that an image must have are
// added.
func (f files) tar() (io.ReadCloser, error) {
	var buffer bytes.Buffer
	w := tar.NewWriter(&buffer)
	for _, dir := range []string{"etc", "tmp", "uploads", "var", "var/run"} {
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir + "/", Mode: 0o1777}); err != nil {
			return nil, err
		}
	}
	var paths []string
	for path := range f {
		paths = append(paths, path)
	}
	slices.Sort(paths)
	for _, path := range paths {
		if err := f[path].write(w, strings.TrimPrefix(path, "/")); err != nil {
			return nil, err
		}
	}
	return io.NopCloser(&buffer), w.Close()
}

func (f file) write(w *tar.Writer, name string) error {
	if f.link != "" {
		return w.WriteHeader(&tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: f.link})
	}
	content, mode := []byte(f.text), int64(0o644)
	if f.host != "" {
		b, err := os.ReadFile(f.host)
		if err != nil {
			return err
		}
		content, mode = b, 0o755
	}
	if f.mode != 0 {
		mode = f.mode
	}
	if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode, Size: int64(len(content))}); err != nil {
		return err
	}
	_, err := w.Write(content)
	return err
}
