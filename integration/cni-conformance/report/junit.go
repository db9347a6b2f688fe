package report

import (
	"encoding/xml"
	"fmt"
	"strings"
	"unicode"

	"github.com/ropeway-net/ropeway/integration/cni-conformance/stage"
)

type junitSuites struct {
	XMLName xml.Name     `xml:"testsuites"`
	Suites  []junitSuite `xml:"testsuite"`
}

type junitSuite struct {
	Name     string      `xml:"name,attr"`
	Tests    int         `xml:"tests,attr"`
	Failures int         `xml:"failures,attr"`
	Errors   int         `xml:"errors,attr"`
	Skipped  int         `xml:"skipped,attr"`
	Cases    []junitCase `xml:"testcase"`
}

type junitCase struct {
	Name      string        `xml:"name,attr"`
	ClassName string        `xml:"classname,attr"`
	Failure   *junitMessage `xml:"failure,omitempty"`
	Error     *junitMessage `xml:"error,omitempty"`
	Skipped   *junitMessage `xml:"skipped,omitempty"`
}

type junitMessage struct {
	Message string `xml:"message,attr"`
	Type    string `xml:"type,attr,omitempty"`
	Text    string `xml:",chardata"`
}

// WriteJUnit writes a test suite a subject and version, for CI systems.
func (r Report) WriteJUnit(path string) error {
	var all junitSuites
	for _, s := range r.Subjects {
		for _, v := range s.Versions {
			suite := junitSuite{Name: s.Label + " " + v}
			for _, e := range s.Entries {
				if e.Version == v {
					suite.add(e)
				}
			}
			all.Suites = append(all.Suites, suite)
		}
	}
	b, err := xml.MarshalIndent(all, "", "  ")
	if err != nil {
		return err
	}
	return write(path, append([]byte(xml.Header), append(b, '\n')...))
}

func (suite *junitSuite) add(e Entry) {
	c := junitCase{Name: e.Case, ClassName: suite.Name}
	message := &junitMessage{Message: printable(e.Why), Type: string(e.Level)}
	suite.Tests++
	switch e.Verdict {
	case stage.Failed:
		suite.Failures++
		message.Text = printable(Evidence(e))
		c.Failure = message
	case stage.DoesNotApply:
		suite.Skipped++
		c.Skipped = &junitMessage{Message: printable(e.Why)}
	case stage.Passed:
	default:
		suite.Errors++
		c.Error = message
	}
	suite.Cases = append(suite.Cases, c)
}

// Evidence is what shows a failure, and how to see it again.
func Evidence(e Entry) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n%s\n", e.What, e.Why)
	if e.Reply != nil {
		fmt.Fprintf(&b, "\nstandard input: %s\nexit code: %d\nstandard output: %s\nstandard error: %s\n",
			e.Reply.Stdin, e.Reply.Code, strings.TrimSpace(e.Reply.Stdout), strings.TrimSpace(e.Reply.Stderr))
	}
	fmt.Fprintf(&b, "\nby hand:\n%s", e.Script)
	return b.String()
}

// printable leaves out what XML cannot hold; plugins print what they like.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' || unicode.IsPrint(r) {
			return r
		}
		return unicode.ReplacementChar
	}, text)
}
