package kernels

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
)

// metaPackage depends on the cloud kernel of the Debian release at hand.
const metaPackage = "linux-image-cloud-amd64"

// image is an unpacked kernel package.
type image struct {
	vmlinuz string
	modules string // lib/modules/<release>, with depmod's indexes
	release string
}

// CacheDir is where kernels are unpacked unless told otherwise: build/kernels
// of the Go module that the process runs in, else the user's cache directory.
func CacheDir() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, statErr := os.Stat(filepath.Join(dir, "go.mod")); statErr == nil {
			return filepath.Join(dir, "build", "kernels"), nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			break
		}
		dir = parent
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find a place for kernels: %w", err)
	}
	return filepath.Join(cache, "ropeway", "kernels"), nil
}

// Fetch makes sure that Debian's cloud kernel lies unpacked below dir, as a
// directory named like its package, and downloads it when it does not. A
// kernel that is already there serves also without a network. An interrupted
// download leaves nothing that is taken for a kernel.
func Fetch(ctx context.Context, dir string) error {
	_, err := fetch(ctx, dir)
	return err
}

func fetch(ctx context.Context, dir string) (image, error) {
	if runtime.GOARCH != "amd64" {
		return image{}, fmt.Errorf("run a kernel in qemu: there is none for %s here, only for amd64", runtime.GOARCH)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return image{}, err
	}
	unlock, err := lock(filepath.Join(dir, ".lock"))
	if err != nil {
		return image{}, err
	}
	defer unlock()
	pkg, err := kernelPackage(ctx)
	if err != nil {
		// No network or no apt: any kernel from before will do.
		if found, _ := filepath.Glob(filepath.Join(dir, "linux-image-*")); len(found) > 0 {
			return openImage(found[len(found)-1])
		}
		return image{}, err
	}
	target := filepath.Join(dir, pkg)
	removeInterrupted(dir)
	if _, err := os.Stat(target); errors.Is(err, os.ErrNotExist) {
		if err := unpack(ctx, dir, pkg, target); err != nil {
			return image{}, fmt.Errorf("get the kernel package %s: %w", pkg, err)
		}
	}
	return openImage(target)
}

// unpackingPrefix begins the names of directories that are being filled.
const unpackingPrefix = ".unpacking-"

// removeInterrupted removes what killed processes left; the caller has the lock.
func removeInterrupted(dir string) {
	left, _ := filepath.Glob(filepath.Join(dir, unpackingPrefix+"*"))
	for _, path := range left {
		_ = os.RemoveAll(path) // costs disk space, nothing else
	}
}

// lock keeps two test processes from unpacking at the same time.
func lock(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return func() { _ = f.Close() }, nil
}

// kernelPackage asks apt what the meta package stands for today.
func kernelPackage(ctx context.Context) (string, error) {
	ask := func() (string, error) {
		out, err := command(ctx, "", "apt-cache", "depends", metaPackage)
		if err != nil {
			return "", err
		}
		for line := range strings.Lines(out) {
			if pkg, ok := strings.CutPrefix(strings.TrimSpace(line), "Depends: linux-image-"); ok {
				return "linux-image-" + pkg, nil
			}
		}
		return "", fmt.Errorf("apt knows no kernel behind %s; is this Debian?", metaPackage)
	}
	pkg, err := ask()
	if err == nil {
		return pkg, nil
	}
	if _, updateErr := apt(ctx, "", "update"); updateErr != nil {
		return "", errors.Join(err, updateErr)
	}
	return ask()
}

// unpack downloads pkg and makes target of it, all at once at the very end.
func unpack(ctx context.Context, dir, pkg, target string) error {
	tmp, err := os.MkdirTemp(dir, unpackingPrefix+"*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	if _, err = apt(ctx, tmp, "download", pkg); err != nil {
		// The mirror has moved on since the lists were read.
		if _, updateErr := apt(ctx, tmp, "update"); updateErr != nil {
			return errors.Join(err, updateErr)
		}
		if _, err = apt(ctx, tmp, "download", pkg); err != nil {
			return err
		}
	}
	debs, err := filepath.Glob(filepath.Join(tmp, "*.deb"))
	if err != nil || len(debs) != 1 {
		return fmt.Errorf("apt-get download left %d packages, not one", len(debs))
	}
	root := filepath.Join(tmp, "root")
	if _, err = command(ctx, tmp, "dpkg", "-x", debs[0], root); err != nil {
		return err
	}
	img, err := openImage(root)
	if err != nil {
		return err
	}
	if _, err := command(ctx, tmp, "depmod", "-b", root, img.release); err != nil {
		return err
	}
	return os.Rename(root, target)
}

func openImage(root string) (image, error) {
	kernels, err := filepath.Glob(filepath.Join(root, "boot", "vmlinuz-*"))
	if err != nil || len(kernels) != 1 {
		return image{}, fmt.Errorf("%s holds %d kernels, not one; remove it to have it unpacked again", root, len(kernels))
	}
	release := strings.TrimPrefix(filepath.Base(kernels[0]), "vmlinuz-")
	return image{
		vmlinuz: kernels[0],
		modules: filepath.Join(root, "lib", "modules", release),
		release: release,
	}, nil
}

// moduleDirs are the parts of the module tree that a test of networks, tunnels
// and disks may need.
func moduleDirs() []string {
	return []string{
		"kernel/net/", "kernel/lib/", "kernel/crypto/", "kernel/arch/",
		"kernel/drivers/net/", "kernel/drivers/virtio/", "kernel/drivers/block/virtio_blk",
		"kernel/fs/ext4/", "kernel/fs/overlayfs/",
	}
}

// addModules puts the modules of moduleDirs, what they depend on and depmod's
// indexes into the archive.
func (img image) addModules(a *archive) error {
	f, err := os.Open(filepath.Join(img.modules, "modules.dep"))
	if err != nil {
		return err
	}
	defer f.Close()
	guest := "/usr/lib/modules/" + img.release
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		module, dependencies, _ := strings.Cut(lines.Text(), ":")
		if !wantModule(module) {
			continue
		}
		for _, m := range append(strings.Fields(dependencies), module) {
			if a.has(guest + "/" + m) {
				continue
			}
			if err = a.copy(guest+"/"+m, filepath.Join(img.modules, m)); err != nil {
				return err
			}
		}
	}
	indexes, err := filepath.Glob(filepath.Join(img.modules, "modules.*"))
	if err != nil {
		return err
	}
	for _, index := range indexes {
		if err := a.copy(guest+"/"+filepath.Base(index), index); err != nil {
			return err
		}
	}
	return lines.Err()
}

func wantModule(path string) bool {
	if strings.HasPrefix(path, "kernel/drivers/net/ethernet/") || strings.HasPrefix(path, "kernel/drivers/net/wireless/") {
		return false
	}
	for _, dir := range moduleDirs() {
		if strings.HasPrefix(path, dir) {
			return true
		}
	}
	return false
}
