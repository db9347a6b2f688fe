package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/ropeway-net/ropeway/leases"
)

// printLeases is a line per address, and one per range.
func printLeases(w io.Writer, r leases.Report, columns []column, now time.Time) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	count := 0
	for _, n := range r.Networks {
		for _, l := range n.Leases {
			if count == 0 {
				printRow(t, columns, func(c column) string { return c.title })
			}
			count++
			printRow(t, columns, func(c column) string { return c.of(l, now) })
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

// column is one of the table of addresses.
type column struct {
	title string
	of    func(l leases.Lease, now time.Time) string
}

// shortColumns fit a terminal, wideColumns tell all.
func shortColumns() []column {
	return columnsWith(shortID)
}

func wideColumns() []column {
	return append(columnsWith(func(l leases.Lease) string { return orDash(l.ContainerID) }),
		column{"LINK", func(l leases.Lease, _ time.Time) string { return orDash(l.HostLink) }},
		column{"NAMESPACE", func(l leases.Lease, _ time.Time) string { return orDash(l.Netns) }},
		column{"REASON", func(l leases.Lease, _ time.Time) string { return l.Reason }})
}

func columnsWith(container func(leases.Lease) string) []column {
	return []column{
		{"NETWORK", func(l leases.Lease, _ time.Time) string { return l.Network }},
		{"ADDRESS", func(l leases.Lease, _ time.Time) string { return l.Address.String() }},
		{"POD", func(l leases.Lease, _ time.Time) string { return pod(l) }},
		{"CONTAINER", func(l leases.Lease, _ time.Time) string { return container(l) }},
		{"INTERFACE", func(l leases.Lease, _ time.Time) string { return orDash(l.IfName) }},
		{"AGE", func(l leases.Lease, now time.Time) string { return age(now.Sub(l.Since)) }},
		{"IN USE", func(l leases.Lease, _ time.Time) string { return string(l.Use) }},
	}
}

func printRow(w io.Writer, columns []column, cell func(column) string) {
	var cells []string
	for _, c := range columns {
		cells = append(cells, cell(c))
	}
	fmt.Fprintln(w, strings.Join(cells, "\t"))
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

// printCollection says what became free, in the words of verb, and what did not.
func printCollection(w io.Writer, c leases.Collection, verb string) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, l := range c.Freed {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", verb, l.Network, l.Address, shortID(l), l.Reason)
	}
	for _, l := range c.Kept {
		fmt.Fprintf(t, "kept\t%s\t%s\t%s\t%s\n", l.Network, l.Address, shortID(l), l.Reason)
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

// shortID is how runtimes' own tools cut a container's ID.
func shortID(l leases.Lease) string {
	const shown = 13
	return orDash(l.ContainerID[:min(shown, len(l.ContainerID))])
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
