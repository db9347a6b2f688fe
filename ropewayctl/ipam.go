package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/ropeway-net/ropeway/leases"
)

// ipamTimeout bounds each ipam command; a lock that is held is waited for.
const ipamTimeout = time.Minute

// ipamFlags are what the ipam commands have in common.
type ipamFlags struct {
	places leases.Places
	output string
}

// ipamCommand is `ropewayctl ipam`: who holds which address of this node.
func ipamCommand() *cobra.Command {
	f := &ipamFlags{places: leases.DefaultPlaces()}
	cmd := &cobra.Command{
		Use:   "ipam",
		Short: "Who holds which address of this node, and is it really in use? (root)",
		Long: `Who holds which address of this node, and is it really in use? (root)

Works on the files of the node and on its kernel, without the daemon. Networks
whose directory only host-local has written to are shown and checked, and never
changed.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	flags := cmd.PersistentFlags()
	flags.StringVar((*string)(&f.places.State), "state-dir", string(f.places.State), "state directory of Ropeway")
	flags.StringVar(&f.places.Networks, "networks-dir", f.places.Networks, "reservations, a directory for each network")
	flags.StringVar(&f.places.Conf, "conf-dir", f.places.Conf, "CNI network configurations, which name the ranges")
	flags.StringVar(&f.places.Results, "results-dir", f.places.Results, "what libcni remembers for the container runtime")
	flags.StringVarP(&f.output, "output", "o", "", "wide: more columns; json: everything")
	cmd.AddCommand(f.ls(), f.check(), f.gc())
	return cmd
}

func (f *ipamFlags) ls() *cobra.Command {
	return &cobra.Command{
		Use:   "ls [NETWORK...]",
		Short: "List the addresses given out, and how full the ranges are",
		Long: `List the addresses given out, and how full the ranges are.

IN USE is yes when a link, a route or a network namespace of this machine has the
address; attaching while an ADD is under way; no when nothing has it and nobody
counts on it; unsure otherwise. -o wide says why.`,
		RunE: f.run(func(ctx context.Context, out io.Writer, networks []string) error {
			report, err := leases.Inspect(ctx, f.places, networks...)
			if err != nil {
				return err
			}
			if f.output == "json" {
				return printJSON(out, report)
			}
			columns := shortColumns()
			if f.output == "wide" {
				columns = wideColumns()
			}
			return printLeases(out, report, columns, time.Now())
		}),
	}
}

func (f *ipamFlags) check() *cobra.Command {
	return &cobra.Command{
		Use:   "check [NETWORK...]",
		Short: "Find what does not fit together, with remedies; fails if there is anything",
		RunE: f.run(func(ctx context.Context, out io.Writer, networks []string) error {
			report, err := leases.Inspect(ctx, f.places, networks...)
			if err != nil {
				return err
			}
			if f.output == "json" {
				err = printJSON(out, report)
			} else {
				err = printProblems(out, report)
			}
			if err == nil && len(report.Problems) > 0 {
				err = fmt.Errorf("%d inconsistencies between reservations, records and the kernel; do what the remedies say", len(report.Problems))
			}
			return err
		}),
	}
}

func (f *ipamFlags) gc() *cobra.Command {
	var dryRun bool
	cmd := &cobra.Command{
		Use:   "gc [NETWORK...]",
		Short: "Free the addresses that are certainly unused",
		Long: `Free the addresses that are certainly unused.

An address is freed when its file is damaged, of an earlier boot, or names a
container of which this machine shows no trace: no link, no route, no namespace
that has the address, no ADD under way. What is in doubt is kept, and the reason
printed. Pods may start and stop meanwhile.`,
		RunE: f.run(func(ctx context.Context, out io.Writer, networks []string) error {
			collect, verb := leases.Collect, "freed"
			if dryRun {
				collect, verb = leases.Candidates, "would free"
			}
			c, err := collect(ctx, f.places, networks...)
			if f.output == "json" {
				return errors.Join(err, printJSON(out, c))
			}
			return errors.Join(err, printCollection(out, c, verb))
		}),
	}
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "say what would be freed and why, and free nothing")
	return cmd
}

// run gives a command its deadline, and refuses an unknown form of output.
func (f *ipamFlags) run(command func(ctx context.Context, out io.Writer, networks []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, networks []string) error {
		switch f.output {
		case "", "wide", "json":
		default:
			return fmt.Errorf("output %q is unknown; use wide or json", f.output)
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), ipamTimeout)
		defer cancel()
		return command(ctx, cmd.OutOrStdout(), networks)
	}
}

func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}
