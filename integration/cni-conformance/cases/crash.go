package cases

import (
	"context"
	"fmt"
	"time"

	"github.com/ropeway-net/ropeway/integration/cni-conformance/stage"
)

// cuts is at how many moments of its run an ADD is killed.
const cuts = 8

func crashCases() []Case {
	return []Case{
		{Name: "killed-add-del", Level: Must, What: "DEL exits with 0 after an ADD that was killed at any of " + fmt.Sprint(cuts) + " moments", Run: killedAddDel},
		{Name: "killed-add-leaves-nothing", Level: Should, What: "DEL after a killed ADD undoes all that it did", Run: killedAddLeavesNothing},
		{Name: "killed-add-again", Level: Practice, What: "after a killed ADD and its DEL the container can be attached", Run: killedAddAgain},
	}
}

// eachKilled kills ADD at several moments and hands over what DEL said.
func eachKilled(ctx context.Context, s *stage.Stage, judge func(a *stage.Attachment, r stage.Reply) error) error {
	probe, err := s.Container(ctx, "probe")
	if err != nil {
		return err
	}
	whole := s.Add(ctx, probe)
	if !whole.OK() {
		return &stage.Blocked{What: "ADD fails: " + whole.Brief(), Reply: &whole}
	}
	if err := s.Deleted(ctx, probe); err != nil {
		return err
	}
	s.Dismantle(ctx, probe)
	if err := s.RemoveNetns(ctx, probe); err != nil {
		return err
	}
	for i := range cuts {
		a, err := s.Container(ctx, fmt.Sprintf("k%d", i))
		if err != nil {
			return err
		}
		s.Call(ctx, "ADD", a, stage.Killed(max(whole.Elapsed*time.Duration(2*i+1)/(2*cuts), time.Millisecond)))
		if err := s.Strangers(ctx); err != nil {
			return err
		}
		if err := judge(a, s.Call(ctx, "DEL", a)); err != nil {
			return err
		}
		s.Dismantle(ctx, a)
	}
	return nil
}

func killedAddDel(ctx context.Context, s *stage.Stage) error {
	return eachKilled(ctx, s, func(_ *stage.Attachment, r stage.Reply) error { return succeeds(r) })
}

func killedAddLeavesNothing(ctx context.Context, s *stage.Stage) error {
	before, err := s.Baseline(ctx)
	if err != nil {
		return err
	}
	return eachKilled(ctx, s, func(a *stage.Attachment, r stage.Reply) error {
		s.Dismantle(ctx, a)
		if err := s.RemoveNetns(ctx, a); err != nil {
			return err
		}
		return nothingBeyond(ctx, s, before, r, "a killed ADD and its DEL")
	})
}

func killedAddAgain(ctx context.Context, s *stage.Stage) error {
	return eachKilled(ctx, s, func(a *stage.Attachment, _ stage.Reply) error {
		s.Dismantle(ctx, a)
		if err := s.Prepare(ctx, a); err != nil {
			return err
		}
		r := s.Add(ctx, a)
		if err := succeeds(r); err != nil {
			return err
		}
		if err := stillThere(ctx, s, a, r, "a killed ADD, DEL and ADD"); err != nil {
			return err
		}
		s.Call(ctx, "DEL", a)
		return nil
	})
}
