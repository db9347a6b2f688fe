package stage

import (
	"errors"
	"fmt"
)

// Breach is what a plugin did and must not, or did not and should have.
type Breach struct {
	What  string
	Reply *Reply // the call that shows it; nil when no single one does
}

func (b *Breach) Error() string { return b.What }

// Breached makes the error of a case whose demand the reply did not meet.
func Breached(r Reply, format string, args ...any) error {
	return &Breach{What: fmt.Sprintf(format, args...), Reply: &r}
}

// NotApplicable says why a demand does not concern a plugin.
type NotApplicable struct{ Why string }

func (n *NotApplicable) Error() string { return n.Why }

// Inapplicable makes the error of a case that does not concern the plugin.
func Inapplicable(format string, args ...any) error {
	return &NotApplicable{Why: fmt.Sprintf(format, args...)}
}

// Blocked is a precondition that the plugin did not meet. It is a failure
// unless the case that examines just this precondition has failed, too.
type Blocked struct {
	What  string
	Reply *Reply
}

func (b *Blocked) Error() string { return b.What }

// Verdict is how a case ended.
type Verdict string

// The verdicts.
const (
	Passed       Verdict = "passed"
	Failed       Verdict = "failed"
	DoesNotApply Verdict = "not applicable"
	Unmet        Verdict = "blocked"
	Broken       Verdict = "broken" // the program itself could not do its work
)

// Outcome is the verdict with its reason and evidence.
type Outcome struct {
	Verdict Verdict `json:"verdict"`
	Why     string  `json:"why,omitempty"`
	Reply   *Reply  `json:"evidence,omitempty"`
	Script  string  `json:"script,omitempty"` // reproduces it by hand
}

// OutcomeOf turns the error of a case into its outcome.
func OutcomeOf(err error) Outcome {
	var breach *Breach
	var inapplicable *NotApplicable
	var blocked *Blocked
	switch {
	case err == nil:
		return Outcome{Verdict: Passed}
	case errors.As(err, &breach):
		return Outcome{Verdict: Failed, Why: err.Error(), Reply: breach.Reply}
	case errors.As(err, &inapplicable):
		return Outcome{Verdict: DoesNotApply, Why: err.Error()}
	case errors.As(err, &blocked):
		return Outcome{Verdict: Unmet, Why: err.Error(), Reply: blocked.Reply}
	}
	return Outcome{Verdict: Broken, Why: err.Error()}
}
