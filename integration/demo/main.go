// Command demo shows Ropeway at work: for each mode it builds a lab of three
// nodes with six pods, lets every pair of pods exchange HTTP requests and a bulk
// TCP transfer in both families, prints what happened, and takes the lab down.
// Modes that the running kernel cannot do run inside a Debian kernel in qemu.
//
// It exits with 0 when every pair passed and nothing was left on the machine.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/ropeway-net/ropeway/daemon/topology"
	"github.com/ropeway-net/ropeway/integration/lab"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if errors.Is(err, flag.ErrHelp) {
		os.Exit(2)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

// demo is one run.
type demo struct {
	out      io.Writer
	bin      string
	guest    bool // already inside the Debian kernel
	bulk     time.Duration
	verdicts []verdict
}

// verdict is the outcome of a mode.
type verdict struct {
	mode           topology.Mode
	passed, failed int // pairs and families
	err            error
	elapsed        time.Duration
}

func (v verdict) ok() bool { return v.err == nil && v.failed == 0 && v.passed > 0 }

func run(ctx context.Context, args []string, out io.Writer) error {
	d := &demo{out: out}
	flags := flag.NewFlagSet("demo", flag.ContinueOnError)
	modeList := flags.String("modes", "", "modes to show, separated by commas; empty: all five")
	flags.StringVar(&d.bin, "bin", "", "directory of the plugins and ropewayd; empty: as `ropewayctl lab` finds them")
	flags.DurationVar(&d.bulk, "bulk", 100*time.Millisecond, "length of each bulk transfer")
	flags.BoolVar(&d.guest, "inside", false, "this is the Debian kernel: start no further one")
	if err := flags.Parse(args); err != nil {
		return err
	}
	modes, err := parseModes(*modeList)
	if err != nil {
		return err
	}
	if os.Geteuid() != 0 {
		return errors.New("a lab is made of network namespaces; run as root")
	}
	if d.bin, err = lab.FindBinaries(d.bin); err != nil {
		return err
	}
	before, err := lab.SnapshotMachine()
	if err != nil {
		return err
	}
	err = d.showAll(ctx, modes)
	return errors.Join(err, d.reportLeftovers(before))
}

func parseModes(list string) ([]topology.Mode, error) {
	if list == "" {
		return lab.Modes(), nil
	}
	var modes []topology.Mode
	for name := range strings.SplitSeq(list, ",") {
		mode := topology.Mode(strings.TrimSpace(name))
		if !slices.Contains(lab.Modes(), mode) {
			return nil, fmt.Errorf("mode %q is none of %v", mode, lab.Modes())
		}
		modes = append(modes, mode)
	}
	return modes, nil
}

// showAll runs the modes that this kernel can do, then the others in the guest.
func (d *demo) showAll(ctx context.Context, modes []topology.Mode) error {
	var elsewhere []topology.Mode
	var reason error
	for _, mode := range modes {
		if ctx.Err() != nil {
			break
		}
		if err := lab.Supported(lab.Options{Mode: mode}); err != nil {
			elsewhere, reason = append(elsewhere, mode), err
			continue
		}
		d.verdicts = append(d.verdicts, d.show(ctx, mode))
	}
	var guestErr error
	if len(elsewhere) > 0 && ctx.Err() == nil {
		if d.guest {
			return reason
		}
		guestErr = d.showInGuest(ctx, elsewhere, reason)
	}
	d.printf("\n")
	failed := guestErr != nil
	for _, v := range d.verdicts {
		word := "ok"
		if !v.ok() {
			word, failed = "FAILED", true
		}
		d.printf("%-20s %-7s %d of %d pairs and families passed, %.1f s\n", v.mode, word, v.passed, v.passed+v.failed, v.elapsed.Seconds())
	}
	for _, mode := range elsewhere {
		if guestErr == nil {
			d.printf("%-20s %-7s inside the Debian kernel, see above\n", mode, "ok")
		} else {
			d.printf("%-20s see above what happened inside the Debian kernel\n", mode)
		}
	}
	if failed {
		return errors.Join(guestErr, ctx.Err(), errors.New("not every pair passed in every mode"))
	}
	return ctx.Err()
}

// reportLeftovers prints the last line.
func (d *demo) reportLeftovers(before lab.Machine) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	left, err := lab.Leftovers(ctx, before)
	if err != nil {
		return fmt.Errorf("look for what was left: %w", err)
	}
	if len(left) > 0 {
		d.printf("\nLeft behind: %s\n", strings.Join(left, ", "))
		return errors.New("the demo left something behind")
	}
	d.printf("\nNothing was left: links, namespaces, nft tables, mounts and processes are as before (%s).\n", before)
	return nil
}

func (d *demo) printf(format string, args ...any) { _, _ = fmt.Fprintf(d.out, format, args...) }
