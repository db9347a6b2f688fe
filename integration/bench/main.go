// Command bench measures Ropeway's plugin against the reference plugins ptp,
// bridge, host-local and portmap in one run, the contenders taking turns, and
// writes a table, build/bench.json and, if asked to, a page with plots. Only
// ratios mean something: the same code is 1.7 times slower on a busy machine
// than on a quiet one, and then so are all sides.
//
// It needs root for network and mount namespaces. They have no names: each is
// held by a file descriptor of this process alone, so that nothing is left even
// when the process is killed.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// options are the command line.
type options struct {
	length  length
	only    []string
	timeout time.Duration
	build   string
	page    string
	strict  bool
}

func parseOptions(args []string) (options, error) {
	var o options
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	short := flags.Bool("quick", false, "run the same cases in fewer rounds")
	only := flags.String("only", "", "run only these comparisons, a comma-separated `list`")
	flags.DurationVar(&o.timeout, "timeout", 30*time.Minute, "give up after this time")
	flags.StringVar(&o.build, "build", "build", "`directory` for binaries and bench.json")
	flags.StringVar(&o.page, "page", "", "write the results into this Markdown `file`, and plots beside it")
	flags.BoolVar(&o.strict, "strict", false, "fail when a target is missed")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if *short {
		o.length = quick
	}
	o.only = strings.FieldsFunc(*only, func(c rune) bool { return c == ',' })
	if len(o.only) > 0 && o.page != "" {
		return o, errors.New("a page of some comparisons would hide the others; leave out -only or -page")
	}
	return o, nil
}

func run(ctx context.Context, args []string, out io.Writer) error {
	o, err := parseOptions(args)
	if err != nil {
		return err
	}
	if os.Geteuid() != 0 {
		return errors.New("namespaces need root; run it with sudo")
	}
	if done, insideErr := runInside(ctx); done || insideErr != nil {
		return insideErr
	}
	ctx, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	dir, err := filepath.Abs(o.build)
	if err != nil {
		return err
	}
	built, err := buildBinaries(ctx, filepath.Join(dir, "bench"))
	if err != nil {
		return err
	}
	var filesystem string
	if built.states, filesystem, err = stateDisk(ctx, built.dir); err != nil {
		return err
	}
	if err = removeStates(built.states); err != nil {
		return err
	}
	report, err := measureAll(ctx, built, o, out)
	report.machine.filesystem = filesystem
	if err != nil {
		return err
	}
	if err := report.print(out); err != nil {
		return err
	}
	for _, line := range report.errors() {
		fmt.Fprintln(out, "errors:", line)
	}
	if err := report.writeJSON(filepath.Join(dir, "bench.json")); err != nil {
		return err
	}
	if o.page != "" {
		if err := report.writePage(o.page); err != nil {
			return err
		}
	}
	if missed := report.missed(); o.strict && len(missed) > 0 {
		return fmt.Errorf("targets missed: %s", strings.Join(missed, "; "))
	}
	return nil
}

// measureAll runs the comparisons that are asked for, or all of them.
func measureAll(ctx context.Context, b binaries, o options, out io.Writer) (report, error) {
	var r report
	var err error
	if r.machine, err = describeMachine(); err != nil {
		return r, err
	}
	r.machine.length = o.length
	all := comparisons(b)
	for _, name := range o.only {
		if !slices.ContainsFunc(all, func(c comparison) bool { return c.name == name }) {
			return r, fmt.Errorf("there is no comparison %q", name)
		}
	}
	for _, c := range all {
		if len(o.only) > 0 && !slices.Contains(o.only, c.name) {
			continue
		}
		start := time.Now()
		fmt.Fprintf(out, "%s: %s", c.name, c.what)
		results, measureErr := c.measure(ctx, o.length)
		if measureErr != nil {
			fmt.Fprintln(out)
			return r, fmt.Errorf("%s: %w", c.name, measureErr)
		}
		fmt.Fprintf(out, " (%d rounds, %.0f s)\n", results[0].rounds, time.Since(start).Seconds())
		r.results = append(r.results, results...)
	}
	if len(o.only) == 0 {
		if r.counts, err = countAll(ctx, b, o.length); err != nil {
			return r, err
		}
	}
	if r.sizes, err = b.sizes(); err != nil {
		return r, err
	}
	r.machine.took = time.Since(r.machine.when)
	r.machine.after, err = readProcessorTime()
	return r, err
}
