package kernels

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"

	"github.com/ropeway-net/ropeway/integration/hostprogram"
)

//go:embed init.sh
var initScript string

// tools are programs of the host that the guest gets, with their libraries.
// Everything else that a shell script expects is busybox.
func tools() []string {
	return []string{"bash", "ip", "bridge", "tc", "nft", "ipvsadm", "sysctl", "nsenter", "unshare", "kmod", "ping"}
}

// optionalTools are taken along when the host has them.
func optionalTools() []string {
	return []string{"tc", "ss", "tcpdump", "conntrack", "iperf3", "curl", "strace", "jq", "stdbuf"}
}

// kmodNames are the names under which kmod does its work; the kernel itself
// calls /sbin/modprobe when somebody asks for what a module provides.
func kmodNames() []string {
	return []string{"modprobe", "lsmod", "insmod", "rmmod", "modinfo", "depmod"}
}

// databases are files of the host that libraries of the tools read.
func databases() []string {
	return []string{"/etc/protocols", "/etc/services", "/etc/ethertypes", "/etc/iproute2", "/usr/share/iproute2"}
}

// buildInitramfs writes the guest's file system for a job to a file without a
// name, so that nothing of it stays when this process is killed.
func buildInitramfs(ctx context.Context, img image, job Job) (*os.File, error) {
	a := newArchive()
	if err := img.addModules(a); err != nil {
		return nil, err
	}
	if err := addTools(ctx, a); err != nil {
		return nil, err
	}
	addEtc(a)
	for _, guest := range slices.Sorted(maps.Keys(job.Files)) {
		if err := a.copy(guest, job.Files[guest]); err != nil {
			return nil, fmt.Errorf("put %s into the guest: %w", guest, err)
		}
	}
	a.text("/init", initScript, 0o755)
	a.text("/.kernels/command", job.script(), 0o755)
	a.text("/.kernels/modules", strings.Join(job.Modules, " "), 0o644)
	f, err := os.CreateTemp("", "ropeway-kernels-*")
	if err != nil {
		return nil, err
	}
	if err := errors.Join(os.Remove(f.Name()), a.write(f)); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func addTools(ctx context.Context, a *archive) error {
	for _, tool := range tools() {
		if err := addTool(ctx, a, tool); err != nil {
			return err
		}
	}
	for _, tool := range optionalTools() {
		if err := addTool(ctx, a, tool); err != nil && !errors.Is(err, exec.ErrNotFound) {
			return err
		}
	}
	kmod, err := exec.LookPath("kmod")
	if err != nil {
		return err
	}
	for _, name := range kmodNames() {
		a.link("/usr/sbin/"+name, merged(kmod))
	}
	return addBusybox(ctx, a)
}

// addTool adds a program of the host with its libraries.
func addTool(ctx context.Context, a *archive, name string) error {
	path, libraries, err := hostprogram.Find(ctx, name)
	if err != nil {
		return fmt.Errorf("put %s into the guest: %w", name, err)
	}
	for _, file := range append([]string{path}, libraries...) {
		if a.has(file) {
			continue
		}
		if err := a.copy(file, file); err != nil {
			return err
		}
	}
	return nil
}

// addBusybox gives the guest every applet that is no tool of the host already.
// The shell is bash, since busybox's prefers its own ip to the real one.
func addBusybox(ctx context.Context, a *archive) error {
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		return err
	}
	if err = a.copy("/usr/bin/busybox", busybox); err != nil {
		return err
	}
	a.link("/usr/bin/sh", "bash")
	out, err := command(ctx, "", busybox, "--list")
	if err != nil {
		return err
	}
	for _, applet := range strings.Fields(out) {
		if !a.has("/usr/bin/"+applet) && !a.has("/usr/sbin/"+applet) {
			a.link("/usr/bin/"+applet, "busybox")
		}
	}
	return nil
}

func addEtc(a *archive) {
	for _, path := range databases() {
		if _, err := os.Stat(path); err == nil {
			_ = a.copy(path, path) // only names for numbers are lost
		}
	}
	a.text("/etc/passwd", "root:x:0:0:root:/root:/bin/bash\ntcpdump:x:100:100::/:/bin/false\nnobody:x:65534:65534:nobody:/:/bin/false\n", 0o644)
	a.text("/etc/group", "root:x:0:\ntcpdump:x:100:\nnogroup:x:65534:\n", 0o644)
	a.text("/etc/hosts", "127.0.0.1 localhost guest\n::1 localhost\n", 0o644)
	a.text("/etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files\nprotocols: files\nservices: files\n", 0o644)
	a.text("/etc/resolv.conf", "", 0o644)
	a.text("/etc/hostname", "guest\n", 0o644)
	a.text("/etc/machine-id", "", 0o644)
}
