package report

import (
	"fmt"
	"strings"

	"github.com/ropeway-net/ropeway/integration/cni-conformance/cases"
	"github.com/ropeway-net/ropeway/integration/cni-conformance/stage"
)

// Page writes the outcomes for readers of the documentation. about says, in
// Markdown, what the subjects are.
func (r Report) Page(path, about string) error {
	var b strings.Builder
	b.WriteString("# CNI conformance\n\n" +
		"What the CNI specification 1.1.0 demands of plugins, examined by\n" +
		"[integration/cni-conformance](../integration/cni-conformance/README.md); this page is\n" +
		"written by `make cni-conformance`. **MUST** and **SHOULD** are the specification's words;\n" +
		"**practice** is what it does not demand and runtimes or their users need.\n\n")
	if about != "" {
		b.WriteString(strings.TrimSpace(about) + "\n\n")
	}
	r.summary(&b)
	r.matrix(&b)
	r.failures(&b)
	r.inapplicable(&b)
	return write(path, []byte(b.String()))
}

func (r Report) summary(b *strings.Builder) {
	b.WriteString("Each case runs once in each version. Cases that failed in at least one version:\n\n| subject | versions | runs passed | MUST failed | SHOULD failed | practice failed | runs not applicable |\n|---|---|---|---|---|---|---|\n")
	for _, s := range r.Subjects {
		fmt.Fprintf(b, "| %s | %s | %d | %d | %d | %d | %d |\n", s.Label, strings.Join(s.Versions, ", "), s.Count(stage.Passed),
			s.CasesWith(stage.Failed, cases.Must), s.CasesWith(stage.Failed, cases.Should), s.CasesWith(stage.Failed, cases.Practice), s.Count(stage.DoesNotApply))
	}
	b.WriteString("\n")
}

func (r Report) matrix(b *strings.Builder) {
	b.WriteString("## All cases\n\n| case | level | what must hold |")
	line := "\n|---|---|---|"
	for _, s := range r.Subjects {
		b.WriteString(" " + s.Label + " |")
		line += "---|"
	}
	b.WriteString(line + "\n")
	for _, name := range r.caseNames() {
		c, err := cases.Find(name)
		if err != nil {
			continue
		}
		fmt.Fprintf(b, "| `%s` | %s | %s |", name, c.Level, cell(c.What))
		for _, s := range r.Subjects {
			word := Cell(s.Of(name))
			if strings.HasPrefix(word, "FAILED") {
				word = "**" + strings.ToLower(word[:6]) + "**" + word[6:]
			}
			b.WriteString(" " + word + " |")
		}
		b.WriteString("\n")
	}
	b.WriteString("\n")
}

// failures tells why each case failed, and how to see it, once a case and
// subject: in the last version in which it failed.
func (r Report) failures(b *strings.Builder) {
	b.WriteString("## What failed\n\nEach script runs as it stands, as root, with `BIN` set to the directory of the plugins: in\nnamespaces of its own it does what the case did.\n\n")
	some := false
	for _, s := range r.Subjects {
		for _, name := range r.caseNames() {
			var last *Entry
			for _, e := range s.Of(name) {
				if e.Verdict == stage.Failed || e.Verdict == stage.Broken {
					last = &e
				}
			}
			if last == nil {
				continue
			}
			some = true
			fmt.Fprintf(b, "### %s: %s (%s)\n\n%s: %s. With version %s: %s\n\n", s.Label, name, last.Level, last.Verdict, last.What, last.Version, prose(last.Why))
			fmt.Fprintf(b, "<details><summary>by hand</summary>\n\n```sh\n%s```\n\n</details>\n\n", portable(last.Script))
		}
	}
	if !some {
		b.WriteString("Nothing.\n\n")
	}
}

// portable leaves out where the plugins were on the machine of this run.
func portable(script string) string {
	var lines []string
	for line := range strings.Lines(script) {
		if strings.HasPrefix(line, "BIN=") {
			line = "BIN=${BIN:-/opt/cni/bin}\n"
		}
		lines = append(lines, line)
	}
	// The script stands in a quoted document; the variable has to reach it.
	return strings.Replace(strings.Join(lines, ""), "unshare ", "export BIN; unshare ", 1)
}

func (r Report) inapplicable(b *strings.Builder) {
	b.WriteString("## Not applicable\n\n| subject | case | why |\n|---|---|---|\n")
	for _, s := range r.Subjects {
		for _, name := range r.caseNames() {
			entries := s.Of(name)
			if Cell(entries) == "n/a" && len(entries) > 0 {
				last := entries[len(entries)-1]
				fmt.Fprintf(b, "| %s | `%s` | %s |\n", s.Label, name, cell(last.Why))
			}
		}
	}
}

// cell is text that ends no cell of a table.
func cell(text string) string {
	return strings.ReplaceAll(strings.Join(strings.Fields(text), " "), "|", `\|`)
}

// prose is a plugin's words as text, whatever they hold.
func prose(text string) string {
	return strings.NewReplacer("<", "&lt;", "*", `\*`, "_", `\_`).Replace(strings.Join(strings.Fields(text), " "))
}
