package report

import (
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/ropeway-net/ropeway/integration/cni-conformance/cases"
	"github.com/ropeway-net/ropeway/integration/cni-conformance/stage"
)

// Summary is a subject's line of numbers: cases, over all versions.
func (s Subject) Summary() string {
	return fmt.Sprintf("%s: %d passed, %d failed (%d MUST, %d SHOULD, %d practice), %d not applicable, %d broken; versions %s",
		s.Label, s.Count(stage.Passed), s.Count(stage.Failed), s.Count(stage.Failed, cases.Must), s.Count(stage.Failed, cases.Should),
		s.Count(stage.Failed, cases.Practice), s.Count(stage.DoesNotApply), s.Count(stage.Broken), strings.Join(s.Versions, ", "))
}

// WriteTable writes the cases against the subjects, and what failed, with the
// script in the directory that shows it.
func (r Report) WriteTable(w io.Writer, scripts string) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprint(tw, "CASE\tLEVEL")
	for _, s := range r.Subjects {
		fmt.Fprint(tw, "\t"+s.Label)
	}
	fmt.Fprintln(tw)
	for _, name := range r.caseNames() {
		level := ""
		var cells []string
		for _, s := range r.Subjects {
			entries := s.Of(name)
			if len(entries) > 0 {
				level = string(entries[0].Level)
			}
			cells = append(cells, Cell(entries))
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\n", name, level, strings.Join(cells, "\t"))
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	for _, s := range r.Subjects {
		for _, e := range s.Entries {
			if e.Verdict == stage.Failed || e.Verdict == stage.Broken {
				fmt.Fprintf(w, "\n%s %s: %s (%s) %s: %s\n", s.Label, e.Version, e.Case, e.Level, e.Verdict, e.Why)
				if e.Script != "" {
					fmt.Fprintln(w, "by hand: sudo sh", filepath.Join(scripts, e.ScriptName(s.Label)))
				}
			}
		}
	}
	fmt.Fprintln(w)
	for _, s := range r.Subjects {
		fmt.Fprintln(w, s.Summary())
	}
	return nil
}

// ScriptName is the name of the file with the entry's script.
func (e Entry) ScriptName(label string) string {
	return label + "-" + e.Version + "-" + e.Case + ".sh"
}

func (r Report) caseNames() []string {
	var names []string
	for _, c := range cases.All() {
		if slices.ContainsFunc(r.Subjects, func(s Subject) bool { return len(s.Of(c.Name)) > 0 }) {
			names = append(names, c.Name)
		}
	}
	return names
}

// Cell says in a word how a case ended in the versions it was run with; where
// they differ, the failed ones are named.
func Cell(entries []Entry) string {
	var failed, passed, broken []string
	for _, e := range entries {
		switch e.Verdict {
		case stage.Failed:
			failed = append(failed, e.Version)
		case stage.Passed:
			passed = append(passed, e.Version)
		case stage.Broken:
			broken = append(broken, e.Version)
		}
	}
	switch {
	case len(broken) > 0:
		return "broken"
	case len(failed) > 0 && len(passed) > 0:
		return "FAILED (" + strings.Join(failed, ", ") + ")"
	case len(failed) > 0:
		return "FAILED"
	case len(passed) > 0:
		return "passed"
	}
	return "n/a"
}
