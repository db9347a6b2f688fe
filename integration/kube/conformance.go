package kube

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Verdict is how a spec ended.
type Verdict struct {
	Spec    string        `json:"spec"`
	Outcome Outcome       `json:"outcome"`
	Reason  string        `json:"reason,omitempty"` // unless passed
	Took    time.Duration `json:"tookNanoseconds,omitempty"`
}

// Outcome is passed, failed, skipped (by the spec itself, with a reason) or
// excluded (not run, because the cluster lacks what it needs).
type Outcome string

// The outcomes.
const (
	Passed   Outcome = "passed"
	Failed   Outcome = "failed"
	Skipped  Outcome = "skipped"
	Excluded Outcome = "excluded"
)

// RunSpecs runs Kubernetes' own end-to-end tests against the cluster, procs at a
// time, and returns how each ended. What they print goes to log, their JUnit
// report to the file junit. BuildE2E must have been called.
func (c *Cluster) RunSpecs(ctx context.Context, selection Selection, procs int, junit string, log io.Writer) ([]Verdict, error) {
	if err := os.MkdirAll(filepath.Dir(junit), 0o755); err != nil {
		return nil, err
	}
	verdicts, err := c.ginkgo(ctx, selection, procs, junit, log)
	if err != nil {
		return nil, err
	}
	if Count(verdicts, Passed)+Count(verdicts, Failed) == 0 {
		return nil, fmt.Errorf("no spec was run; %s holds none", junit)
	}
	return verdicts, nil
}

// ginkgo runs the specs and reads the report.
func (c *Cluster) ginkgo(ctx context.Context, selection Selection, procs int, junit string, log io.Writer) ([]Verdict, error) {
	if err := os.Remove(junit); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	bin := func(program string) string { return filepath.Join(c.build, "bin", program) }
	args := []string{
		"--procs=" + strconv.Itoa(procs), "--focus=" + selection.focus(), "--skip=" + selection.skip(), "--no-color", "--timeout=2h",
		"--output-dir=" + filepath.Dir(junit), "--junit-report=" + filepath.Base(junit),
	}
	args = append(args, bin("e2e.test"), "--",
		"--kubeconfig="+c.AdminConfig(), "--kubectl-path="+bin("kubectl"), "--provider=skeleton",
		"--num-nodes="+strconv.Itoa(len(c.Nodes)),
		"--allowed-not-ready-nodes=0", "--disable-log-dump", "--prefix="+c.Options.Name)
	cmd := exec.CommandContext(ctx, bin("ginkgo"), args...)
	cmd.Dir = c.dir
	cmd.Stdout, cmd.Stderr = log, log
	cmd.WaitDelay = 10 * time.Second
	runErr := c.Control.Network.Do(cmd.Run)
	verdicts, err := readJUnit(junit)
	if err != nil {
		return nil, errors.Join(runErr, err)
	}
	return verdicts, nil // a failed spec, too, makes ginkgo fail
}

// Count counts the verdicts with an outcome.
func Count(verdicts []Verdict, outcome Outcome) int {
	count := 0
	for _, v := range verdicts {
		if v.Outcome == outcome {
			count++
		}
	}
	return count
}

// junitReport is the part of the format that ginkgo writes.
type junitReport struct {
	Suites []struct {
		Cases []struct {
			Name    string  `xml:"name,attr"`
			Status  string  `xml:"status,attr"`
			Seconds float64 `xml:"time,attr"`
			Failure *struct {
				Message string `xml:"message,attr"`
			} `xml:"failure"`
			Skipped *struct {
				Message string `xml:"message,attr"`
			} `xml:"skipped"`
		} `xml:"testcase"`
	} `xml:"testsuite"`
}

// labels are what ginkgo writes before and behind a spec's text.
var labels = regexp.MustCompile(`^\[It\] |( \[[^\]]*\])$`)

// readJUnit returns the specs that were started, and those of the network that
// are excluded. Ginkgo lists all that were not selected as skipped without a
// reason.
func readJUnit(path string) ([]Verdict, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var report junitReport
	if err := xml.Unmarshal(b, &report); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	var verdicts []Verdict
	for _, suite := range report.Suites {
		for _, c := range suite.Cases {
			if !strings.HasPrefix(c.Name, "[It] ") && c.Failure == nil {
				continue // a set-up step that went well
			}
			v := Verdict{Spec: labels.ReplaceAllString(c.Name, ""), Outcome: Passed, Took: time.Duration(c.Seconds * float64(time.Second))}
			switch {
			case c.Failure != nil:
				v.Outcome, v.Reason = Failed, oneLine(c.Failure.Message)
			case c.Skipped != nil:
				_, reason, given := strings.Cut(c.Skipped.Message, " - ")
				v.Outcome, v.Reason = Skipped, oneLine(reason)
				if !given {
					v.Outcome, v.Reason = Excluded, excluded(v.Spec)
				}
				if v.Outcome == Excluded && (v.Reason == "" || !strings.HasPrefix(v.Spec, "[sig-network]")) {
					continue
				}
			}
			verdicts = append(verdicts, v)
		}
	}
	return verdicts, nil
}

// oneLine shortens what a spec says to what fits into a table.
func oneLine(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	const most = 160
	if len(text) > most {
		return text[:most] + "…"
	}
	return text
}
