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
	results []result
	counts  []count
	sizes   []size
	machine machine
}

// writeJSON puts the results into a file.
func (r report) writeJSON(path string) error {
	b, err := json.MarshalIndent(r.results, "", "  ")
	if err != nil {
		return fmt.Errorf("encode the results: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, append(b, '\n'), 0o644)
}

// print writes tables for a terminal.
func (r report) print(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "\ncase\tsubject\tp50 ms\tp99 ms\tper s\terrors\tpeer\tp50 ms\tp99 ms\tper s\terrors\tratio\t95 %\trounds\ttarget\t")
	for _, x := range r.results {
		a, b := x.subject, x.theirs
		fmt.Fprintf(w, "%s\t%s\t%.2f\t%.2f\t%.0f\t%d\t%s\t%.2f\t%.2f\t%.0f\t%d\t%.3f\t%.3f-%.3f\t%d\t%s\t\n",
			x.Case, x.Subject, a.p50, a.p99, a.rate, a.failed, x.Peer, b.p50, b.p99, b.rate, b.failed,
			x.Ratio, x.RatioLow, x.RatioHigh, x.rounds, verdict(x))
	}
	fmt.Fprintln(w, "\nverb\tof\tsystem calls\tfsyncs\tprograms\t")
	for _, c := range r.counts {
		fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%d\t\n", c.verb, c.of, c.calls, c.fsyncs, c.programs)
	}
	fmt.Fprintln(w, "\nbinary\tMB\t\t")
	for _, s := range r.sizes {
		fmt.Fprintf(w, "%s\t%.2f\t%s\t\n", s.name, megabytes(s.bytes), s.verdict())
	}
	return w.Flush()
}

// errors lists the first failed call of each case.
func (r report) errors() []string {
	var list []string
	for _, x := range r.results {
		if f := x.subject; f.failed > 0 {
			list = append(list, fmt.Sprintf("%s, %s: %d failed, first: %v", x.Case, x.Subject, f.failed, f.why))
		}
		if f := x.theirs; f.failed > 0 {
			list = append(list, fmt.Sprintf("%s, %s: %d failed, first: %v", x.Case, x.Peer, f.failed, f.why))
		}
	}
	return list
}

// missed lists the targets that were not reached.
func (r report) missed() []string {
	var list []string
	for _, x := range r.results {
		if t, promised := targets()[x.Case]; promised && t.judge(x) == missed {
			list = append(list, x.Case+" "+t.String())
		}
	}
	for _, s := range r.sizes {
		if s.promised() && s.judge() == missed {
			list = append(list, fmt.Sprintf("%s under %.1f MB", s.name, megabytes(maxPluginBytes)))
		}
	}
	return list
}

func (s size) promised() bool { return s.name == "ropeway" }

func (s size) judge() judgement {
	if s.bytes < maxPluginBytes {
		return met
	}
	return missed
}

func (s size) verdict() string {
	if !s.promised() {
		return ""
	}
	return fmt.Sprintf("under %.1f: %s", megabytes(maxPluginBytes), s.judge())
}

func megabytes(n int64) float64 { return float64(n) / 1e6 }
