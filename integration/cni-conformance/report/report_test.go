package report

import (
	"bytes"
	"strings"
	"testing"

	"github.com/ropeway-net/ropeway/integration/cni-conformance/cases"
	"github.com/ropeway-net/ropeway/integration/cni-conformance/stage"
)

func entry(name, version string, v stage.Verdict) Entry {
	return Entry{Case: name, Level: cases.Must, Version: version, Outcome: stage.Outcome{Verdict: v, Why: "because"}}
}

func TestUnmetPreconditionIsAFailureUnlessADDFails(t *testing.T) {
	s := Subject{Entries: []Entry{
		entry("add-succeeds", "1.0.0", stage.Failed), entry("del-twice", "1.0.0", stage.Unmet),
		entry("add-succeeds", "1.1.0", stage.Passed), entry("del-twice", "1.1.0", stage.Unmet),
	}}
	s.Settle()
	if s.Entries[1].Verdict != stage.DoesNotApply || s.Entries[3].Verdict != stage.Failed {
		t.Errorf("%+v", s.Entries)
	}
}

func TestCellNamesTheVersionsThatFail(t *testing.T) {
	for want, entries := range map[string][]Entry{
		"passed":         {entry("x", "1.0.0", stage.Passed), entry("x", "1.1.0", stage.DoesNotApply)},
		"FAILED":         {entry("x", "1.0.0", stage.Failed), entry("x", "1.1.0", stage.DoesNotApply)},
		"FAILED (1.0.0)": {entry("x", "1.0.0", stage.Failed), entry("x", "1.1.0", stage.Passed)},
		"n/a":            {entry("x", "1.0.0", stage.DoesNotApply)},
		"broken":         {entry("x", "1.0.0", stage.Broken), entry("x", "1.1.0", stage.Failed)},
	} {
		if got := Cell(entries); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestTableHasEverySubjectAndReason(t *testing.T) {
	r := Report{Subjects: []Subject{
		{Label: "one", Versions: []string{"1.1.0"}, Entries: []Entry{entry("del-twice", "1.1.0", stage.Failed)}},
		{Label: "two", Versions: []string{"1.1.0"}, Entries: []Entry{entry("del-twice", "1.1.0", stage.Passed)}},
	}}
	var b bytes.Buffer
	if err := r.WriteTable(&b, "scripts"); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"one", "two", "FAILED", "passed", "because", "1 failed (1 MUST"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
}
