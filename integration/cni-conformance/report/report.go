// Package report holds the outcomes of a run and writes them: a table for a
// terminal, JSON, JUnit XML, and a page in Markdown.
package report

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"

	"github.com/ropeway-net/ropeway/integration/cni-conformance/cases"
	"github.com/ropeway-net/ropeway/integration/cni-conformance/stage"
)

// Entry is the outcome of one case with one subject in one version.
type Entry struct {
	Case    string      `json:"case"`
	Level   cases.Level `json:"level"`
	What    string      `json:"what"`
	Version string      `json:"version"`
	stage.Outcome
}

// Subject is everything about one subject.
type Subject struct {
	Label    string   `json:"subject"`
	Plugin   string   `json:"plugin"`
	Kind     string   `json:"kind"`
	Versions []string `json:"versions"` // in which it was examined
	Entries  []Entry  `json:"cases"`
}

// Report is everything about a run.
type Report struct {
	Subjects []Subject `json:"subjects"`
}

// Settle decides about the cases whose precondition was not met: it is a
// failure of theirs unless add-succeeds has failed in the same version, too,
// since then there is nothing more to learn.
func (s *Subject) Settle() {
	broken := map[string]bool{}
	for _, e := range s.Entries {
		if e.Case == "add-succeeds" && e.Verdict == stage.Failed {
			broken[e.Version] = true
		}
	}
	for i := range s.Entries {
		e := &s.Entries[i]
		switch {
		case e.Verdict != stage.Unmet:
		case broken[e.Version]:
			e.Verdict, e.Why = stage.DoesNotApply, "ADD fails: see add-succeeds"
		default:
			e.Verdict, e.Why = stage.Failed, "before the case could look at its subject: "+e.Why
		}
	}
}

// Count counts the entries of a verdict; of a level, when one is given.
func (s Subject) Count(v stage.Verdict, levels ...cases.Level) int {
	n := 0
	for _, e := range s.Entries {
		if e.Verdict == v && (len(levels) == 0 || slices.Contains(levels, e.Level)) {
			n++
		}
	}
	return n
}

// Of lists a case's entries, by version.
func (s Subject) Of(name string) []Entry {
	var all []Entry
	for _, e := range s.Entries {
		if e.Case == name {
			all = append(all, e)
		}
	}
	return all
}

// CasesWith counts the cases of which a version ended with the verdict.
func (s Subject) CasesWith(v stage.Verdict, level cases.Level) int {
	names := map[string]bool{}
	for _, e := range s.Entries {
		if e.Verdict == v && e.Level == level {
			names[e.Case] = true
		}
	}
	return len(names)
}

// WriteJSON writes everything.
func (r Report) WriteJSON(path string) error {
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return write(path, append(b, '\n'))
}

func write(path string, b []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, b, 0o644)
}
