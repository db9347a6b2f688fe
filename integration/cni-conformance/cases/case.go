// Package cases holds what is examined, one function a case. A case makes its
// world on a stage, calls the plugin as a runtime would, and returns nil, a
// breach with its evidence, or why the demand does not concern the plugin.
package cases

import (
	"context"
	"fmt"
	"slices"

	"github.com/ropeway-net/ropeway/integration/cni-conformance/stage"
	"github.com/ropeway-net/ropeway/integration/cni-conformance/subject"
)

// Level is how binding a demand is.
type Level string

// The levels: those of the specification (RFC 2119), and what it does not
// demand but runtimes need.
const (
	Must     Level = "MUST"
	Should   Level = "SHOULD"
	Practice Level = "practice"
)

// Case is one demand under examination.
type Case struct {
	Name  string
	Level Level
	What  string // what must hold
	Since string // the first version of the specification that has it; "" is all
	Kinds []subject.Kind
	// Without it the case cannot tell: its failure makes this one's
	// precondition not applicable instead of failed.
	Run func(context.Context, *stage.Stage) error
}

// All lists the cases in the order in which reports have them.
func All() []Case {
	return slices.Concat(
		versionCases(), environmentCases(), inputCases(), errorCases(),
		addCases(), resultCases(), dnsCases(), chainCases(), delCases(), delOddCases(), checkCases(), checkDamageCases(),
		statusCases(), gcCases(), gcListCases(), delegateCases(), delegateFailureCases(), crashCases(), capabilityCases(), libraryCases(),
	)
}

// Find returns the case of a name.
func Find(name string) (Case, error) {
	for _, c := range All() {
		if c.Name == name {
			return c, nil
		}
	}
	return Case{}, fmt.Errorf("there is no case %q", name)
}

// Applies says why a case does not concern a subject in a version, or "".
func (c Case) Applies(s subject.Subject, specVersion string) string {
	st := stage.New(s, specVersion)
	if c.Since != "" && !st.AtLeast(c.Since) {
		return "the specification has it since " + c.Since
	}
	if len(c.Kinds) > 0 && !slices.Contains(c.Kinds, s.Kind) {
		return fmt.Sprintf("it concerns plugins of another kind than %s", s.Kind)
	}
	return ""
}

func interfaceOnly() []subject.Kind { return []subject.Kind{subject.Interface} }

func addressing() []subject.Kind { return []subject.Kind{subject.Interface, subject.IPAM} }

func chainedOnly() []subject.Kind { return []subject.Kind{subject.Chained} }

// succeeds demands exit code 0.
func succeeds(r stage.Reply) error {
	if !r.OK() {
		return stage.Breached(r, "it should succeed, but %s", r.Brief())
	}
	return nil
}

// fails demands another exit code than 0.
func fails(r stage.Reply, because string) error {
	if r.Hung {
		return stage.Breached(r, "%s", r.Brief())
	}
	if r.OK() {
		return stage.Breached(r, "%s succeeds although %s", r.Verb, because)
	}
	return nil
}

// codeIs demands one of the error codes.
func codeIs(r stage.Reply, codes ...int) (stage.ErrorDocument, error) {
	e, err := stage.ErrorOf(r)
	if err == nil && !slices.Contains(codes, *e.Code) {
		err = stage.Breached(r, "the error code is %d instead of %v: %s", *e.Code, codes, r.Brief())
	}
	return e, err
}

// first returns the first error, evaluating no more than it has to.
func first(steps ...func() error) error {
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// nothingBeyond demands that the plugin left nothing.
func nothingBeyond(ctx context.Context, s *stage.Stage, before stage.Snapshot, r stage.Reply, after string) error {
	left, err := s.Leftovers(ctx, before)
	if err == nil && len(left) > 0 {
		err = stage.Breached(r, "after %s there is left on the host: %s", after, list(left))
	}
	return err
}

func list(lines []string) string {
	const most = 6
	more := ""
	if len(lines) > most {
		more = fmt.Sprintf(" and %d more", len(lines)-most)
		lines = lines[:most]
	}
	text := ""
	for i, l := range lines {
		if i > 0 {
			text += "; "
		}
		text += l
	}
	return text + more
}
