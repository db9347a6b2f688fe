package kernels

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"

	"github.com/ropeway-net/ropeway/integration/hostprogram"
)

// requirement is a program of the host and the Debian package that has it.
type requirement struct {
	program string
	pkg     string
}

const qemuProgram = "qemu-system-x86_64"

// requirements are what Run needs on the host, beside a shell and coreutils.
func requirements() []requirement {
	return []requirement{
		{qemuProgram, "qemu-system-x86"},
		{"depmod", "kmod"},
		{"modprobe", "kmod"},
		{"busybox", "busybox-static"},
		{"ip", "iproute2"},
		{"bridge", "iproute2"},
		{"tc", "iproute2"},
		{"nft", "nftables"},
		{"ipvsadm", "ipvsadm"},
		{"sysctl", "procps"},
		{"nsenter", "util-linux"},
		{"unshare", "util-linux"},
		{"ping", "iputils-ping"},
	}
}

// missingPackages are the Debian packages that Run cannot do without and that
// are not there.
func missingPackages() []string {
	var missing []string
	for _, r := range requirements() {
		p, err := exec.LookPath(r.program)
		if err == nil && (r.program != "busybox" || hostprogram.Static(p)) {
			continue
		}
		if !slices.Contains(missing, r.pkg) {
			missing = append(missing, r.pkg)
		}
	}
	return missing
}

// checkPackages fails with what to do when a program is missing.
func checkPackages() error {
	if missing := missingPackages(); len(missing) > 0 {
		return fmt.Errorf("no kernel can be run in qemu: these Debian packages are missing: %s; install them with: apt-get install --no-install-recommends %[1]s",
			strings.Join(missing, " "))
	}
	return nil
}

// Ensure installs the Debian packages that [Run] needs on the host, if any is
// missing. It needs root and apt for that; the error says which packages to
// install by hand otherwise.
func Ensure(ctx context.Context) error {
	missing := missingPackages()
	if len(missing) == 0 {
		return nil
	}
	if _, err := exec.LookPath("apt-get"); err != nil || os.Geteuid() != 0 {
		return fmt.Errorf("%w (this process cannot: it needs root and apt-get)", checkPackages())
	}
	install := append([]string{"install", "-y", "--no-install-recommends"}, missing...)
	if _, err := apt(ctx, "", install...); err != nil {
		// The lists of a fresh machine are empty or old.
		if _, updateErr := apt(ctx, "", "update"); updateErr != nil {
			return errors.Join(err, updateErr)
		}
		if _, err := apt(ctx, "", install...); err != nil {
			return err
		}
	}
	return checkPackages()
}

// apt runs apt-get in a directory, without questions, and waits for another
// apt that is at work.
func apt(ctx context.Context, dir string, args ...string) (string, error) {
	args = append([]string{"-q", "-o", "DPkg::Lock::Timeout=120"}, args...)
	return command(ctx, dir, "apt-get", args...)
}

// command runs a program of the host and returns its standard output; an error
// carries what it complained about.
func command(ctx context.Context, dir, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C")
	var complaint strings.Builder
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(complaint.String()))
	}
	return string(out), nil
}
