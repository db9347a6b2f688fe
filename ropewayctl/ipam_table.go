package main

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/ropeway-net/ropeway/leases"
)

// printLeases is a line per address, and one per range.
func printLeases(w io.Writer, r leases.Report, wide bool, now time.Time) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	header := "NETWORK\tADDRESS\tPOD\tCONTAINER\tINTERFACE\tAGE\tIN USE"
	if wide {
		header += "\tLINK\tNAMESPACE\tREASON"
	}
	count := 0
	for _, n := range r.Networks {
		for _, l := range n.Leases {
			if count == 0 {
				fmt.Fprintln(t, header)
			}
			count++
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s", n.Name, l.Address, pod(l), container(l, wide), orDash(l.IfName), age(now.Sub(l.Since)), l.Use)
			if wide {
				fmt.Fprintf(t, "\t%s\t%s\t%s", orDash(l.HostLink), orDash(l.Netns), l.Reason)
			}
			fmt.Fprintln(t)
		}
	}
	if count == 0 {
		fmt.Fprintln(t, "No addresses are given out.")
	}
	if len(r.Networks) > 0 {
		fmt.Fprint(t, "\nNETWORK\tRANGE\tGIVEN OUT\tOF\n")
	}
	for _, n := range r.Networks {
		for _, u := range n.Ranges {
			total := fmt.Sprint(u.Total)
			if u.Total == 0 {
				total = "2^64 or more"
			}
			fmt.Fprintf(t, "%s\t%s\t%d\t%s\n", n.Name, u.Range, u.Used, total)
		}
		if len(n.Ranges) == 0 {
			fmt.Fprintf(t, "%s\tnot known\t%d\t-\n", n.Name, len(n.Leases))
		}
	}
	printNotes(t, r.Notes)
	return t.Flush()
}

// printProblems is a line per problem, each followed by what to do.
func printProblems(w io.Writer, r leases.Report) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	total := 0
	for _, n := range r.Networks {
		total += len(n.Leases)
	}
	for _, p := range r.Problems {
		subject := p.Network
		if p.Address.IsValid() {
			subject += " " + p.Address.String()
		}
		if subject == "" {
			subject = "node"
		}
		fmt.Fprintf(t, "%s: %s: %s\n    remedy: %s\n", subject, p.Kind, p.Text, p.Remedy)
	}
	if len(r.Problems) == 0 {
		fmt.Fprintf(t, "%d addresses in %d networks: reservations, records and the kernel agree.\n", total, len(r.Networks))
	}
	printNotes(t, r.Notes)
	return t.Flush()
}

// printCollection says what became free and what did not.
func printCollection(w io.Writer, c leases.Collection, dryRun bool) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	verb := "freed"
	if dryRun {
		verb = "would free"
	}
	for _, l := range c.Freed {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", verb, l.Network, l.Address, container(l, false), l.Reason)
	}
	for _, l := range c.Kept {
		fmt.Fprintf(t, "kept\t%s\t%s\t%s\t%s\n", l.Network, l.Address, container(l, false), l.Reason)
	}
	fmt.Fprintf(t, "%s %d addresses, kept %d in doubt\n", verb, len(c.Freed), len(c.Kept))
	printNotes(t, c.Notes)
	return t.Flush()
}

func printNotes(w io.Writer, notes []string) {
	for _, note := range notes {
		fmt.Fprintf(w, "note: %s\n", note)
	}
}

func pod(l leases.Lease) string {
	if l.Pod.Name == "" {
		return "-"
	}
	return l.Pod.Namespace + "/" + l.Pod.Name
}

// container is cut as runtimes' own tools cut it.
func container(l leases.Lease, whole bool) string {
	const shown = 13
	if !whole && len(l.ContainerID) > shown {
		return l.ContainerID[:shown]
	}
	return orDash(l.ContainerID)
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// age is the largest unit that is not zero, and the next one where that tells
// something.
func age(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d < 0:
		return "0s"
	case d < 2*time.Minute:
		return fmt.Sprintf("%ds", d/time.Second)
	case d < 2*time.Hour:
		return fmt.Sprintf("%dm", d/time.Minute)
	case d < 2*day:
		return fmt.Sprintf("%dh", d/time.Hour)
	}
	return fmt.Sprintf("%dd", d/day)
}
