// Command bench measures Ropeway's plugin against the reference plugins ptp
// and host-local in one run, the two taking turns, and writes a table and
// build/bench.json. Only ratios mean something: the same code is 1.7 times
// slower on a busy machine than on a quiet one, and then so are both sides.
//
// It needs root for network namespaces. They have no names: each is held by a
// file descriptor of this process alone, so that nothing is left even when the
// process is killed.
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

func run(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	rounds := flags.Int("rounds", 200, "`times` that each side of a comparison runs")
	only := flags.String("only", "", "run only these comparisons, a comma-separated `list`")
	timeout := flags.Duration("timeout", 15*time.Minute, "give up after this time")
	build := flags.String("build", "build", "`directory` for binaries and bench.json")
	strict := flags.Bool("strict", false, "fail when a target is missed")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if os.Geteuid() != 0 {
		return errors.New("network namespaces need root; run it with sudo")
	}
	if *rounds < 1 {
		return fmt.Errorf("%d rounds measure nothing; give at least 1", *rounds)
	}
	ctx, cancel := context.WithTimeout(ctx, *timeout)
	defer cancel()
	dir, err := filepath.Abs(*build)
	if err != nil {
		return err
	}
	built, err := buildBinaries(ctx, filepath.Join(dir, "bench"))
	if err != nil {
		return err
	}
	report, err := compareAll(ctx, built, *only, *rounds, out)
	if err != nil {
		return err
	}
	report.Sizes, err = built.sizes()
	if err != nil {
		return err
	}
	if err := report.write(out, filepath.Join(dir, "bench.json")); err != nil {
		return err
	}
	if *strict && !report.met() {
		return errors.New("a target was missed")
	}
	return nil
}

// compareAll runs the comparisons that only names, or all of them.
func compareAll(ctx context.Context, b binaries, only string, rounds int, out io.Writer) (report, error) {
	var r report
	wanted := strings.FieldsFunc(only, func(c rune) bool { return c == ',' })
	all := comparisons(b)
	for _, name := range wanted {
		if !slices.ContainsFunc(all, func(c comparison) bool { return c.name == name }) {
			return report{}, fmt.Errorf("there is no comparison %q", name)
		}
	}
	for _, c := range all {
		if len(wanted) > 0 && !slices.Contains(wanted, c.name) {
			continue
		}
		n := c.rounds(rounds)
		fmt.Fprintf(out, "%s: %d rounds of %s\n", c.name, n, c.what)
		results, err := c.measure(ctx, n)
		if err != nil {
			return report{}, fmt.Errorf("%s: %w", c.name, err)
		}
		r.Results = append(r.Results, results...)
	}
	return r, nil
}
