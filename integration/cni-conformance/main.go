// Command cni-conformance examines CNI plugins: it runs what the CNI
// specification 1.1 demands of them, and what runtimes need beside that, as
// named cases, and says of each whether it passed, failed (with the evidence
// and a script that shows it by hand) or does not apply.
//
// Each case runs in a process with network, mount and process namespaces of
// its own, which needs root. The README tells the rest.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/ropeway-net/ropeway/integration/cni-conformance/cases"
	"github.com/ropeway-net/ropeway/integration/cni-conformance/demands"
	"github.com/ropeway-net/ropeway/integration/cni-conformance/sandbox"
	"github.com/ropeway-net/ropeway/integration/cni-conformance/stage"
	"github.com/ropeway-net/ropeway/integration/cni-conformance/subject"
)

// errFailed means that a subject failed a case.
var errFailed = errors.New("a case failed")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	var err error
	if len(os.Args) == 2 && os.Args[1] == sandbox.Verb {
		err = runOneCase(ctx, os.Stdin, os.Stdout)
	} else {
		err = run(ctx, os.Args[1:], os.Stdout)
	}
	stop()
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
	case errors.Is(err, errFailed):
		os.Exit(1)
	default:
		fmt.Fprintln(os.Stderr, "cni-conformance:", err)
		os.Exit(2)
	}
}

// askVersions stands for a case: it asks the plugin for its versions, in the
// sandbox like every other call, and the outcome's reason lists them.
const askVersions = "versions"

// caseDeadline is how long one case may take.
const caseDeadline = 3 * time.Minute

// runOneCase is what the process in the sandbox does.
func runOneCase(ctx context.Context, in io.Reader, out io.Writer) error {
	var job sandbox.Job
	if err := json.NewDecoder(in).Decode(&job); err != nil {
		return err
	}
	if err := sandbox.Enter(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, caseDeadline)
	defer cancel()
	s := stage.New(job.Subject, job.Version)
	if job.Case == askVersions {
		versions, err := cases.Supported(ctx, s)
		if err != nil {
			return err
		}
		return json.NewEncoder(out).Encode(stage.Outcome{Verdict: stage.Passed, Why: strings.Join(versions, " ")})
	}
	c, err := cases.Find(job.Case)
	if err != nil {
		return err
	}
	outcome := stage.OutcomeOf(c.Run(ctx, s))
	if outcome.Verdict != stage.Passed && outcome.Verdict != stage.DoesNotApply {
		outcome.Script = s.Script()
	}
	return json.NewEncoder(out).Encode(outcome)
}

// options are the command line.
type options struct {
	subjects []subject.Subject
	cases    []string // empty: all
	versions []string // empty: all that the plugin speaks
	jobs     int
	out      string
	page     string
	preface  string
	must     []string // labels whose failures count; empty: all
	demands  bool
}

func parse(args []string, out io.Writer) (options, error) {
	var o options
	flags := flag.NewFlagSet("cni-conformance", flag.ContinueOnError)
	flags.SetOutput(out)
	flags.Usage = func() {
		fmt.Fprintln(out, "usage: cni-conformance -bin DIR[:DIR…] [flags] [LABEL[:TYPE]=]FILE…\n\nFILE is a network configuration (.conflist or .conf), TYPE the plugin in it\nthat is examined (the first one), LABEL its name in reports.")
		flags.PrintDefaults()
	}
	bin := flags.String("bin", "/opt/cni/bin", "`directories` of the plugins' binaries, separated by colons")
	only := flags.String("case", "", "run only these cases, a comma-separated `list`")
	versions := flags.String("spec", "", "run with these versions only, a comma-separated `list`; default: what VERSION lists, of "+strings.Join(examined(), ", "))
	flags.IntVar(&o.jobs, "jobs", runtime.NumCPU(), "how many cases run at a time")
	flags.StringVar(&o.out, "out", "build/cni-conformance", "`directory` for report.json, junit.xml and the scripts of failures")
	flags.StringVar(&o.page, "page", "", "write a page in Markdown to this `file`")
	flags.StringVar(&o.preface, "preface", "", "put this `file` at the head of the page")
	must := flags.String("must-pass", "", "exit with 1 only when one of these subjects failed a case, a comma-separated `list`; default: any")
	flags.BoolVar(&o.demands, "demands", false, "print the specification's demands with their cases, and run nothing")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	o.cases, o.versions, o.must = words(*only), words(*versions), words(*must)
	for _, name := range o.cases {
		if _, err := cases.Find(name); err != nil {
			return o, err
		}
	}
	path, err := directories(*bin)
	if err != nil {
		return o, err
	}
	for _, spec := range flags.Args() {
		s, err := subject.Parse(spec, path)
		if err != nil {
			return o, err
		}
		o.subjects = append(o.subjects, s)
	}
	return o, nil
}

// directories makes the plugins' directories absolute, and refuses those that
// are not there any more in the sandbox.
func directories(bin string) ([]string, error) {
	var path []string
	for _, dir := range filepath.SplitList(bin) {
		abs, err := filepath.Abs(dir)
		if err != nil {
			return nil, err
		}
		for _, hidden := range sandbox.Hidden() {
			if strings.HasPrefix(abs+"/", hidden+"/") {
				return nil, fmt.Errorf("plugins in %s cannot be run: cases begin with an empty %s; copy the binaries elsewhere", abs, hidden)
			}
		}
		path = append(path, abs)
	}
	return path, nil
}

func words(list string) []string {
	return strings.FieldsFunc(list, func(r rune) bool { return r == ',' })
}

func run(ctx context.Context, args []string, out io.Writer) error {
	o, err := parse(args, out)
	if err != nil {
		return err
	}
	if o.demands {
		_, err = io.WriteString(out, demands.Markdown())
		return err
	}
	if len(o.subjects) == 0 {
		return errors.New("give at least one network configuration; -h tells how")
	}
	if os.Geteuid() != 0 {
		return errors.New("network namespaces need root; run it with sudo")
	}
	r, err := examine(ctx, o, os.Stderr)
	if err != nil {
		return err
	}
	if err := publish(r, o, out); err != nil {
		return err
	}
	for _, s := range r.Subjects {
		if (len(o.must) == 0 || slices.Contains(o.must, s.Label)) && s.Count(stage.Failed)+s.Count(stage.Broken) > 0 {
			return errFailed
		}
	}
	return nil
}
