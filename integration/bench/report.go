package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"text/tabwriter"
)

// report is everything that one run found.
type report struct {
	Results []result
	Sizes   []size
}

// write prints the table and puts the results into a JSON file.
func (r report) write(out io.Writer, path string) error {
	if err := r.print(out); err != nil {
		return err
	}
	b, err := json.MarshalIndent(r.Results, "", "  ")
	if err != nil {
		return fmt.Errorf("encode the results: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, append(b, '\n'), 0o644)
}

func (r report) print(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "\ncase\tsubject\tp50 ms\tp99 ms\tper s\tpeer\tp50 ms\tp99 ms\tratio\t95 %\ttarget\t")
	for _, x := range r.Results {
		fmt.Fprintf(w, "%s\t%s\t%.2f\t%.2f\t%.0f\t%s\t%.2f\t%.2f\t%.3f\t%.3f-%.3f\t%s\t\n",
			x.Case, x.Subject, x.P50, x.P99, x.Rate, x.Peer, x.peerP50, x.peerP99,
			x.Ratio, x.RatioLow, x.RatioHigh, verdict(x))
	}
	fmt.Fprintln(w, "\nbinary\tMB\t\t")
	for _, s := range r.Sizes {
		note := ""
		if s.name == "ropeway" {
			note = fmt.Sprintf("under %.1f: %s", megabytes(maxPluginBytes), metOrMissed()[s.bytes < maxPluginBytes])
		}
		fmt.Fprintf(w, "%s\t%.2f\t%s\t\n", s.name, megabytes(s.bytes), note)
	}
	return w.Flush()
}

// met tells whether every target is reached.
func (r report) met() bool {
	for _, x := range r.Results {
		if limit, ok := targets()[x.Case]; ok && x.Ratio > limit {
			return false
		}
	}
	for _, s := range r.Sizes {
		if s.name == "ropeway" && s.bytes >= maxPluginBytes {
			return false
		}
	}
	return true
}

func verdict(x result) string {
	limit, ok := targets()[x.Case]
	if !ok {
		return ""
	}
	return fmt.Sprintf("at most %.2f: %s", limit, metOrMissed()[x.Ratio <= limit])
}

// metOrMissed words whether a target is reached.
func metOrMissed() map[bool]string { return map[bool]string{true: "met", false: "missed"} }

func megabytes(n int64) float64 { return float64(n) / 1e6 }
