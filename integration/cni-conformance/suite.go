package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/ropeway-net/ropeway/integration/cni-conformance/cases"
	"github.com/ropeway-net/ropeway/integration/cni-conformance/report"
	"github.com/ropeway-net/ropeway/integration/cni-conformance/sandbox"
	"github.com/ropeway-net/ropeway/integration/cni-conformance/stage"
	"github.com/ropeway-net/ropeway/integration/cni-conformance/subject"
)

// examined are the versions of the specification with which cases run. Those
// before 0.3.1 have another form of result and no runtime sends them any more.
func examined() []string { return []string{"0.3.1", "0.4.0", "1.0.0", "1.1.0"} }

// examine runs the cases of all subjects.
func examine(ctx context.Context, o options, progress io.Writer) (report.Report, error) {
	var r report.Report
	for _, s := range o.subjects {
		versions, err := supported(ctx, s, o.versions)
		if err != nil {
			return r, err
		}
		r.Subjects = append(r.Subjects, report.Subject{Label: s.Label, Plugin: s.Type(), Kind: string(s.Kind), Versions: versions})
	}
	type task struct {
		entry *report.Entry
		job   sandbox.Job
	}
	var tasks []task
	for i := range r.Subjects {
		s := &r.Subjects[i]
		s.Entries = entriesOf(o, s.Versions)
		for j := range s.Entries {
			e := &s.Entries[j]
			c, err := cases.Find(e.Case)
			if err != nil {
				return r, err
			}
			if why := c.Applies(o.subjects[i], e.Version); why != "" {
				e.Outcome = stage.Outcome{Verdict: stage.DoesNotApply, Why: why}
				continue
			}
			tasks = append(tasks, task{e, sandbox.Job{Subject: o.subjects[i], Version: e.Version, Case: e.Case}})
		}
	}
	queue := make(chan task)
	var done atomic.Int64
	var workers sync.WaitGroup
	for range max(o.jobs, 1) {
		workers.Go(func() {
			for t := range queue {
				t.entry.Outcome = sandbox.Run(ctx, t.job)
				if n := done.Add(1); n%100 == 0 {
					fmt.Fprintf(progress, "%d of %d\n", n, len(tasks))
				}
			}
		})
	}
	for _, t := range tasks {
		queue <- t
	}
	close(queue)
	workers.Wait()
	for i := range r.Subjects {
		r.Subjects[i].Settle()
	}
	return r, ctx.Err()
}

func entriesOf(o options, versions []string) []report.Entry {
	var entries []report.Entry
	for _, v := range versions {
		for _, c := range cases.All() {
			if len(o.cases) == 0 || slices.Contains(o.cases, c.Name) {
				entries = append(entries, report.Entry{Case: c.Name, Level: c.Level, What: c.What, Version: v})
			}
		}
	}
	return entries
}

// supported asks the plugin for its versions and takes those that are wanted.
func supported(ctx context.Context, s subject.Subject, wanted []string) ([]string, error) {
	answer := sandbox.Run(ctx, sandbox.Job{Subject: s, Version: "1.0.0", Case: askVersions})
	if answer.Verdict != stage.Passed {
		return nil, fmt.Errorf("ask %s for its versions: %s", s.Type(), answer.Why)
	}
	all := strings.Fields(answer.Why)
	var versions []string
	for _, v := range examined() {
		if slices.Contains(all, v) && (len(wanted) == 0 || slices.Contains(wanted, v)) {
			versions = append(versions, v)
		}
	}
	if len(versions) == 0 {
		return nil, fmt.Errorf("%s speaks %v, of which none is to be examined", s.Type(), all)
	}
	return versions, nil
}

// about reads what the page shall say about the subjects.
func (o options) about() (string, error) {
	if o.preface == "" {
		return "", nil
	}
	b, err := os.ReadFile(o.preface)
	return string(b), err
}

func writeScript(path, script string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, []byte(script), 0o755)
}

// publish writes all reports.
func publish(r report.Report, o options, out io.Writer) error {
	errs := []error{
		r.WriteTable(out, filepath.Join(o.out, "scripts")),
		r.WriteJSON(filepath.Join(o.out, "report.json")),
		r.WriteJUnit(filepath.Join(o.out, "junit.xml")),
	}
	if o.page != "" {
		about, err := o.about()
		errs = append(errs, err, r.Page(o.page, about))
	}
	for _, s := range r.Subjects {
		for _, e := range s.Entries {
			if e.Script != "" {
				errs = append(errs, writeScript(filepath.Join(o.out, "scripts", e.ScriptName(s.Label)), e.Script))
			}
		}
	}
	return errors.Join(errs...)
}
