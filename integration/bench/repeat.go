package main

import "context"

// stepRun is the only step of what has but one.
const stepRun = "run"

// repeated makes the same call over and over and touches nothing.
type repeated struct {
	call func(ctx context.Context) (spent, error)
	end  func() error // nil: nothing is to be taken down
}

func (r repeated) round(ctx context.Context) ([]sample, error) {
	s := sample{step: stepRun}
	s.add(r.call(ctx))
	if len(s.each) == 1 {
		s.wall = s.each[0]
	}
	return []sample{s}, s.failure
}

func (r repeated) close() error {
	if r.end == nil {
		return nil
	}
	return r.end()
}

// program runs a program that touches nothing.
func program(p process) repeated {
	return repeated{call: func(ctx context.Context) (spent, error) {
		done, err := execute(ctx, p)
		return spent{done.elapsed, done.cpu}, err
	}}
}
