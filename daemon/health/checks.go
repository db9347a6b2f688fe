package health

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/ropeway-net/ropeway/daemon/status"
)

// check is one condition of being ready.
type check struct {
	Name  string `json:"name"`
	OK    bool   `json:"ok"`
	Cause string `json:"cause,omitempty"` // why not
}

// readiness is the answer of /readyz.
type readiness struct {
	Ready  bool    `json:"ready"`
	Checks []check `json:"checks"`
}

// ready judges this node alone: a peer that does not answer, a source that is
// away and a configuration that was rejected leave the node as able to carry
// pods as it was, and a rollout must not wait for them.
func (v View) ready(ctx context.Context) readiness {
	r := v.Report()
	out := readiness{Ready: true}
	add := func(name, cause string) {
		out.Checks = append(out.Checks, check{Name: name, OK: cause == "", Cause: strings.ReplaceAll(cause, "\n", "; ")})
		out.Ready = out.Ready && cause == ""
	}
	loop := ""
	if err := v.Alive(ctx); err != nil {
		loop = err.Error()
	}
	add("loop", loop)
	add("nodes", nodesCause(r))
	add("kernel", kernelCause(r))
	return out
}

func nodesCause(r status.Report) string {
	if r.Nodes.Origin != "" {
		return ""
	}
	return cmp.Or(r.Nodes.Error, r.Reason, "the list of nodes is not known yet")
}

func kernelCause(r status.Report) string {
	switch {
	case r.Ready:
		return ""
	case r.Last.Time.IsZero():
		return "not looked at yet"
	default:
		return cmp.Or(r.Reason, "it does not hold what it should")
	}
}

func (r readiness) writeText(w io.Writer) {
	for _, c := range r.Checks {
		if c.OK {
			fmt.Fprintf(w, "[+]%s ok\n", c.Name)
		} else {
			fmt.Fprintf(w, "[-]%s failed: %s\n", c.Name, c.Cause)
		}
	}
	if r.Ready {
		fmt.Fprintln(w, "ready")
	} else {
		fmt.Fprintln(w, "not ready")
	}
}

func (r readiness) writeJSON(w io.Writer) { _ = json.NewEncoder(w).Encode(r) }
