package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// contender is one side of a comparison.
type contender interface {
	// name is what the table calls it.
	name() string
	// round does the work once and says how long each step took; a step may
	// occur several times.
	round(ctx context.Context) ([]timing, error)
	// close ends the contender after its last round, and fails when its work
	// left something behind.
	close() error
}

// timing is how long one step of a round took.
type timing struct {
	step    string
	elapsed time.Duration
}

// comparison sets a contender of ours against a peer.
type comparison struct {
	name string
	what string // one round, for people
	// open makes both sides anew.
	open func() (subject, peer contender, err error)
	// cases names the result of each step that is reported.
	cases map[string]string
	order []string // steps in the order in which they are reported
	// limit is the highest number of rounds, for sides that take seconds; 0
	// is none.
	limit int
}

// rounds that are run when so many are wanted.
func (c comparison) rounds(wanted int) int {
	if c.limit > 0 {
		return min(wanted, c.limit)
	}
	return wanted
}

// warmUp rounds are run and forgotten: the first ones read binaries from disk
// and load kernel modules.
const warmUp = 3

// measure lets subject and peer take turns, so that whatever else the machine
// does meets both.
func (c comparison) measure(ctx context.Context, rounds int) (results []result, err error) {
	subject, peer, err := c.open()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, subject.close(), peer.close()) }()
	ours, theirs := samples{}, samples{}
	for i := range warmUp + rounds {
		into, peerInto := ours, theirs
		if i < warmUp {
			into, peerInto = samples{}, samples{}
		}
		// Who is first changes, since the second finds warmer caches.
		first, second := func() error { return into.add(ctx, subject) }, func() error { return peerInto.add(ctx, peer) }
		if i%2 == 1 {
			first, second = second, first
		}
		if err := errors.Join(first(), second()); err != nil {
			return nil, fmt.Errorf("round %d: %w", i, err)
		}
	}
	for _, step := range c.order {
		results = append(results, compare(c.cases[step], subject.name(), ours[step], peer.name(), theirs[step]))
	}
	return results, nil
}

// samples are the timings of one contender, by step.
type samples map[string][]time.Duration

func (s samples) add(ctx context.Context, c contender) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	timings, err := c.round(ctx)
	if err != nil {
		return fmt.Errorf("%s: %w", c.name(), err)
	}
	for _, t := range timings {
		s[t.step] = append(s[t.step], t.elapsed)
	}
	return nil
}
