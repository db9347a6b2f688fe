package main

import (
	"context"
	"debug/elf"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/ropeway-net/ropeway/daemon/topology"
	"github.com/ropeway-net/ropeway/integration/kernels"
	"github.com/ropeway-net/ropeway/integration/lab"
)

// showInGuest runs this program once more inside a Debian kernel.
func (d *demo) showInGuest(ctx context.Context, modes []topology.Mode, reason error) error {
	var list []string
	for _, mode := range modes {
		list = append(list, string(mode))
	}
	d.printf("\n== %s, inside a Debian kernel in qemu ==\n%v.\nStarting one (the processor is emulated, so throughput is far lower) ...\n", strings.Join(list, " and "), reason)
	if err := kernels.Ensure(ctx); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "ropeway-demo-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	program, err := staticDemo(ctx, dir)
	if err != nil {
		return err
	}
	code, err := kernels.Run(ctx, kernels.Job{
		Files: map[string]string{
			"/ropeway/demo":             program,
			"/ropeway/bin/ropeway":      filepath.Join(d.bin, "ropeway"),
			"/ropeway/bin/ropeway-ipam": filepath.Join(d.bin, "ropeway-ipam"),
			"/ropeway/bin/ropewayd":     filepath.Join(d.bin, "ropewayd"),
		},
		Command: []string{"/ropeway/demo", "-inside", "-modes", strings.Join(list, ","), "-bin", "/ropeway/bin"},
		// Before the demo looks at the machine: the modules bring devices along.
		Modules: []string{"ipip", "sit", "ip6_tunnel"},
		Output:  d.out,
	})
	if err != nil {
		return err
	}
	if code != 0 {
		return fmt.Errorf("inside the Debian kernel the demo failed with exit code %d", code)
	}
	return nil
}

// staticDemo is this program, which the guest can run when it needs no
// libraries; else it is built into dir.
func staticDemo(ctx context.Context, dir string) (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	if static(self) {
		return self, nil
	}
	if err := lab.BuildPackages(ctx, dir, "integration/demo"); err != nil {
		return "", fmt.Errorf("the guest needs a static program; build this one with CGO_ENABLED=0: %w", err)
	}
	return filepath.Join(dir, "demo"), nil
}

// static says whether a program asks for no dynamic loader.
func static(path string) bool {
	f, err := elf.Open(path)
	if err != nil {
		return false
	}
	defer func() { _ = f.Close() }()
	return !slices.ContainsFunc(f.Progs, func(p *elf.Prog) bool { return p.Type == elf.PT_INTERP })
}
