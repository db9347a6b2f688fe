package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"github.com/ropeway-net/ropeway/daemon/topology"
	"github.com/ropeway-net/ropeway/integration/kube"
)

// conformance runs Kubernetes' own tests on clusters that it makes for them.
func conformance() *cobra.Command {
	var mode, proxy, specs, doc string
	var procs int
	cmd := &cobra.Command{
		Use:   "conformance",
		Short: "Run Kubernetes' own network tests, in all modes unless one is named",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			root, err := projectRoot(cmd.Context())
			if err != nil {
				return err
			}
			planned := plannedRuns(topology.Mode(mode), kube.Proxy(proxy), kube.Selection(specs))
			if len(planned) == 0 {
				return fmt.Errorf("nothing is planned for mode %q, kube-proxy %q and specs %q; leave one of them out", mode, proxy, specs)
			}
			failed := 0
			for _, r := range planned {
				count, err := runOn(cmd.Context(), cmd.OutOrStdout(), root, procs, r)
				if err != nil {
					return fmt.Errorf("mode %s, kube-proxy %s: %w", r[0].Mode, r[0].Proxy, err)
				}
				failed += count
			}
			if err := report(root, doc); err != nil {
				return err
			}
			if failed > 0 {
				return fmt.Errorf("%d specs failed; see %s and the logs in %s", failed, doc, kube.RunsDir(root))
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&mode, "mode", "", "one mode of Ropeway")
	cmd.Flags().StringVar(&proxy, "proxy", "", "one mode of kube-proxy: nftables or iptables")
	cmd.Flags().StringVar(&specs, "specs", "", "one selection: conformance, further or short")
	cmd.Flags().IntVar(&procs, "procs", 5, "specs that run at a time")
	cmd.Flags().StringVar(&doc, "doc", "docs/conformance.md", "page to write, relative to the project")
	return cmd
}

// plannedRuns are the runs by cluster: everything with kube-proxy in nftables
// mode, less with iptables, unless the arguments name one of the kind.
func plannedRuns(mode topology.Mode, proxy kube.Proxy, specs kube.Selection) [][]kube.Run {
	all := [][]kube.Run{{{Mode: cmp.Or(mode, topology.VXLAN), Proxy: kube.IPTables, Selection: kube.Short}}}
	if mode != "" && proxy != kube.IPTables {
		all = nil
	}
	if proxy != kube.IPTables {
		for _, m := range []topology.Mode{topology.VXLAN, topology.VXLANCrossSubnet, topology.Direct} {
			all = append(all, []kube.Run{
				{Mode: m, Proxy: kube.NFTables, Selection: kube.Conformant},
				{Mode: m, Proxy: kube.NFTables, Selection: kube.Further},
			})
		}
	}
	var wanted [][]kube.Run
	for _, runs := range all {
		runs = slices.DeleteFunc(runs, func(r kube.Run) bool {
			return mode != "" && r.Mode != mode || proxy != "" && r.Proxy != proxy || specs != "" && r.Selection != specs
		})
		if len(runs) > 0 {
			wanted = append(wanted, runs)
		}
	}
	return wanted
}

// runOn makes a cluster, does the runs on it and keeps their results. It
// returns how many specs failed.
func runOn(ctx context.Context, out io.Writer, root string, procs int, runs []kube.Run) (failed int, err error) {
	c, err := kube.Up(ctx, root, kube.Options{Mode: runs[0].Mode, Proxy: runs[0].Proxy}, out)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, c.Down(context.WithoutCancel(ctx))) }()
	for _, r := range runs {
		if err := os.MkdirAll(kube.RunsDir(root), 0o755); err != nil {
			return failed, err
		}
		log, err := os.Create(r.File(root) + ".log")
		if err != nil {
			return failed, err
		}
		r.Verdicts, err = c.RunSpecs(ctx, r.Selection, procs, r.File(root)+".xml", log)
		if err = errors.Join(err, log.Close()); err != nil {
			return failed, err
		}
		if err := r.Save(root); err != nil {
			return failed, err
		}
		passed, bad := kube.Count(r.Verdicts, kube.Passed), kube.Count(r.Verdicts, kube.Failed)
		fmt.Fprintf(out, "%s, kube-proxy %s, %s: %d passed, %d failed, %d skipped by the spec itself\n",
			r.Mode, r.Proxy, r.Selection, passed, bad, kube.Count(r.Verdicts, kube.Skipped))
		for _, v := range r.Verdicts {
			if v.Outcome == kube.Failed {
				fmt.Fprintf(out, "  failed: %s: %s\n", v.Spec, v.Reason)
			}
		}
		failed += bad
	}
	return failed, nil
}

// report writes the page from all runs that are kept.
func report(root, doc string) error {
	runs, err := kube.Runs(root)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(root, doc), []byte(kube.Report(runs)), 0o644)
}
