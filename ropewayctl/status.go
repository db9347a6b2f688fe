package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/ropeway-net/ropeway/daemon/status"
	"github.com/ropeway-net/ropeway/statedir"
)

func statusCommand() *cobra.Command {
	var stateDir string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show what this node's daemon knows: readiness, paths and their reasons, problems",
		Long: `Show what this node's daemon knows: readiness, paths and their reasons, problems.

The table has a line per peer and pod CIDR. VIA is how packets for these pods
leave the node: direct (a plain route), vxlan, ipip, sit or ip6tnl (a tunnel), or
refused. NEXT HOP is the peer's address that the packet, or the tunnel packet
around it, is sent to.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), 10*time.Second)
			defer cancel()
			report, err := status.Fetch(ctx, statedir.Dir(stateDir).Socket())
			if err != nil {
				return err
			}
			if asJSON {
				enc := json.NewEncoder(cmd.OutOrStdout())
				enc.SetIndent("", "  ")
				return enc.Encode(report)
			}
			return printStatus(cmd.OutOrStdout(), report, time.Now())
		},
	}
	cmd.Flags().StringVar(&stateDir, "state-dir", statedir.DefaultDir, "state directory of the daemon")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print everything as JSON")
	return cmd
}

// printStatus prints facts as lines and paths as a table.
func printStatus(w io.Writer, r status.Report, now time.Time) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	line := func(key, format string, args ...any) {
		fmt.Fprintf(t, "%s\t%s\n", key, fmt.Sprintf(format, args...))
	}
	line("node", "%s", r.Node)
	line("mode", "%s", r.Mode)
	if r.Ready {
		line("ready", "yes")
	} else {
		line("ready", "no: %s", indent(r.Reason))
	}
	if len(r.Address.Addresses) > 0 {
		line("address", "%s", r.Address.Reason)
	}
	if len(r.PodCIDRs) > 0 {
		line("pods", "%d in %s, MTU %d", r.Pods, strings.Trim(fmt.Sprint(r.PodCIDRs), "[]"), r.PodMTU)
	}
	if r.Nodes.Origin != "" {
		line("nodes", "%d from %s", r.Nodes.Count, r.Nodes.Origin)
	}
	if r.Nodes.Error != "" {
		line("", "not up to date: %s", indent(r.Nodes.Error))
	}
	if !r.Last.Time.IsZero() {
		line("reconciled", "%s ago in %s, %d changes", now.Sub(r.Last.Time).Round(time.Second), r.Last.Duration.Round(time.Microsecond), r.Last.Operations)
	}
	line("drift", "%s", drift(r.Drift))
	if r.ConfigRejected != "" {
		line("problem", "configuration rejected, the running one stays: %s", indent(r.ConfigRejected))
	}
	for _, p := range r.Problems {
		line("problem", "%s", indent(p))
	}
	for _, text := range reachability(r.Reachability, now) {
		line("peers", "%s", text)
	}
	if err := t.Flush(); err != nil || len(r.Paths) == 0 {
		return err
	}
	fmt.Fprint(t, "\nPEER\tPODS\tVIA\tNEXT HOP\tLINK\tREASON\n")
	for _, p := range r.Paths {
		hop := "-"
		if p.NextHop.IsValid() {
			hop = p.NextHop.String()
		}
		link := p.Link
		if link == "" {
			link = "-"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", p.Peer, p.PodCIDR, p.Via, hop, link, p.Reason)
	}
	return t.Flush()
}

// reachability says which peers answer, one line each for those that do not.
func reachability(r *status.Reachability, now time.Time) []string {
	if r == nil {
		return nil
	}
	var lines []string
	switch {
	case r.Probed == 0:
	case r.Silent == 0:
		lines = append(lines, fmt.Sprintf("%d probed, none unreachable", r.Probed))
	default:
		lines = append(lines, fmt.Sprintf("%d probed, %d unreachable", r.Probed, r.Silent))
	}
	if r.Obstacle != "" {
		lines = append(lines, "not all probed: "+r.Obstacle)
	}
	for _, u := range r.Unreachable {
		lines = append(lines, fmt.Sprintf("%s (%s) for %s: %s", u.Peer, u.Via, now.Sub(u.Since).Round(time.Second), u.Reason))
	}
	return lines
}

// indent keeps a text of several lines in its column.
func indent(text string) string { return strings.ReplaceAll(text, "\n", "\n\t") }

func drift(counts map[string]int) string {
	if len(counts) == 0 {
		return "none repaired"
	}
	var parts []string
	for _, kind := range slices.Sorted(maps.Keys(counts)) {
		parts = append(parts, fmt.Sprintf("%d %s", counts[kind], kind))
	}
	return "repaired " + strings.Join(parts, ", ")
}
