package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/ropeway-net/ropeway/kernel"
)

// transaction is a sequence of steps of which all are done or none.
type transaction struct {
	before func(step string) error // may fail a step; nil outside tests
	done   []kernel.Step
}

// do runs a step unless ctx has ended. After an error the caller rolls back.
func (t *transaction) do(ctx context.Context, s kernel.Step) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%s: interrupted: %w", s.Name, err)
	}
	if t.before != nil {
		if err := t.before(s.Name); err != nil {
			return fmt.Errorf("%s: %w", s.Name, err)
		}
	}
	if err := s.Do(); err != nil {
		return fmt.Errorf("%s: %w", s.Name, err)
	}
	t.done = append(t.done, s)
	return nil
}

// rollback undoes what was done, the last first. It stops where an undo fails:
// an address that may still be on a link must stay reserved, and the endpoint
// record must stay for DEL to try again.
func (t *transaction) rollback() error {
	for i := len(t.done) - 1; i >= 0; i-- {
		s := t.done[i]
		if s.Undo == nil {
			continue
		}
		if err := s.Undo(); err != nil {
			return fmt.Errorf("undo %q: %w; DEL will try again", s.Name, err)
		}
	}
	t.done = nil
	return nil
}

// run does all steps, or none.
func (t *transaction) run(ctx context.Context, steps []kernel.Step) error {
	for _, s := range steps {
		if err := t.do(ctx, s); err != nil {
			return errors.Join(err, t.rollback())
		}
	}
	return nil
}
