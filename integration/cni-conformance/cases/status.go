package cases

import (
	"context"
	"fmt"
	"time"

	"github.com/ropeway-net/ropeway/integration/cni-conformance/stage"
)

// since11 is the version of the specification that brought STATUS and GC.
const since11 = "1.1.0"

// poolLimit is how many containers are attached in search of a pool's end.
const poolLimit = 40

func statusCases() []Case {
	return []Case{
		{Name: "status-ready", Level: Must, What: "STATUS exits with 0 when ADD would succeed, and needs nothing of an attachment", Since: since11, Run: statusReady},
		{Name: "status-without-path", Level: Must, What: "CNI_PATH may be missing for STATUS, unless a delegate has to be found", Since: since11, Run: statusWithoutPath},
		{Name: "status-bad-configuration", Level: Practice, What: "STATUS fails when ADD would fail for the configuration: its type is all that is left", Since: since11, Kinds: addressing(), Run: statusBadConfiguration},
		{Name: "status-exhausted", Level: Should, What: "STATUS fails when no address is left", Since: since11, Kinds: addressing(), Run: statusExhausted},
		{Name: "status-exhausted-code", Level: Should, What: "the error code for it is 50 or 51", Since: since11, Kinds: addressing(), Run: statusExhaustedCode},
		{Name: "status-recovers", Level: Must, What: "STATUS exits with 0 again when an address is free again", Since: since11, Kinds: addressing(), Run: statusRecovers},
		{Name: "status-del-after-failure", Level: Should, What: "DEL works while STATUS fails", Since: since11, Kinds: addressing(), Run: statusDelAfterFailure},
		{Name: "status-quick", Level: Practice, What: "STATUS takes less than a second: kubelet waits for it every five", Since: since11, Run: statusQuick},
		{Name: "pool-exhausted-code", Level: Practice, What: "ADD fails with a code that the specification or the plugin defines when no address is left, not 999", Kinds: addressing(), Run: poolExhaustedCode},
		{Name: "pool-empty-reservation", Level: Practice, What: "an empty reservation file, as a power cut leaves it, does not hold its address for ever", Kinds: addressing(), Run: poolEmptyReservation},
	}
}

func statusReady(ctx context.Context, s *stage.Stage) error {
	a, err := s.Attached(ctx, "a")
	if err != nil {
		return err
	}
	if err := s.Deleted(ctx, a); err != nil {
		return err
	}
	return succeeds(s.Call(ctx, "STATUS", nil))
}

func statusWithoutPath(ctx context.Context, s *stage.Stage) error {
	if s.Subject.Kind == "interface" && s.Subject.IPAMType() != "" && !inProcess(ctx, s) {
		return stage.Inapplicable("it finds its delegate %s through CNI_PATH", s.Subject.IPAMType())
	}
	return succeeds(s.Call(ctx, "STATUS", nil, stage.NoEnv("CNI_PATH")))
}

func statusBadConfiguration(ctx context.Context, s *stage.Stage) error {
	var options []stage.Option
	for key := range s.Subject.Plugins[s.Subject.Target] {
		if key != "type" {
			options = append(options, stage.NoKey(key))
		}
	}
	a, err := s.Container(ctx, "a")
	if err != nil {
		return err
	}
	if r := s.Add(ctx, a, options...); r.OK() {
		return stage.Inapplicable("ADD succeeds with its type alone")
	}
	return fails(s.Call(ctx, "STATUS", nil, options...), "ADD fails with the same configuration")
}

// exhausted attaches containers until no address is left. The last reply is
// the ADD that failed.
func exhausted(ctx context.Context, s *stage.Stage) ([]*stage.Attachment, stage.Reply, error) {
	var all []*stage.Attachment
	for i := range poolLimit {
		a, err := s.Container(ctx, fmt.Sprintf("p%d", i))
		if err != nil {
			return nil, stage.Reply{}, err
		}
		r := s.Add(ctx, a)
		if !r.OK() && i == 0 {
			return nil, r, &stage.Blocked{What: "ADD fails: " + r.Brief(), Reply: &r}
		}
		if !r.OK() {
			s.Call(ctx, "DEL", a)
			return all, r, nil
		}
		all = append(all, a)
	}
	return nil, stage.Reply{}, stage.Inapplicable("after %d containers there are addresses left; a configuration with a smaller range would tell", poolLimit)
}

func statusExhausted(ctx context.Context, s *stage.Stage) error {
	if _, _, err := exhausted(ctx, s); err != nil {
		return err
	}
	return fails(s.Call(ctx, "STATUS", nil), "no address is left, and ADD fails")
}

func statusExhaustedCode(ctx context.Context, s *stage.Stage) error {
	if _, _, err := exhausted(ctx, s); err != nil {
		return err
	}
	r := s.Call(ctx, "STATUS", nil)
	if r.OK() {
		return stage.Inapplicable("STATUS does not fail")
	}
	_, err := codeIs(r, 50, 51)
	return err
}

func statusRecovers(ctx context.Context, s *stage.Stage) error {
	all, _, err := exhausted(ctx, s)
	if err != nil {
		return err
	}
	if err := s.Deleted(ctx, all[0]); err != nil {
		return err
	}
	return succeeds(s.Call(ctx, "STATUS", nil))
}

func statusDelAfterFailure(ctx context.Context, s *stage.Stage) error {
	all, _, err := exhausted(ctx, s)
	if err != nil {
		return err
	}
	if s.Call(ctx, "STATUS", nil).OK() {
		return stage.Inapplicable("STATUS does not fail")
	}
	return succeeds(s.Call(ctx, "DEL", all[0]))
}

func statusQuick(ctx context.Context, s *stage.Stage) error {
	var r stage.Reply
	for range 3 { // a machine has its moments; a plugin that waits waits always
		if r = s.Call(ctx, "STATUS", nil); r.Elapsed < time.Second {
			return nil
		}
	}
	return stage.Breached(r, "it took %v", r.Elapsed)
}

func poolExhaustedCode(ctx context.Context, s *stage.Stage) error {
	_, r, err := exhausted(ctx, s)
	if err != nil {
		return err
	}
	e, err := stage.ErrorOf(r)
	if err == nil && *e.Code == 999 {
		err = stage.Breached(r, "the code is 999, which says nothing")
	}
	return err
}

func poolEmptyReservation(ctx context.Context, s *stage.Stage) error {
	a, err := s.Attached(ctx, "a")
	if err != nil {
		return err
	}
	file, err := reservation(a)
	if err != nil {
		return err
	}
	if err = s.Deleted(ctx, a); err != nil {
		return err
	}
	if err = s.Sh(ctx, ": >%s", file); err != nil {
		return err
	}
	// A full round of the pool has to come by the address.
	all, r, err := exhausted(ctx, s)
	if err != nil {
		return err
	}
	lost, err := stage.ResultOf(a)
	if err != nil {
		return err
	}
	for _, b := range all {
		result, err := stage.ResultOf(b)
		if err != nil {
			return err
		}
		if len(result.IPs) > 0 && result.IPs[0].Address == lost.IPs[0].Address {
			return nil
		}
	}
	return stage.Breached(r, "address %s was given to none of %d containers, and now the range is full", lost.IPs[0].Address, len(all))
}
