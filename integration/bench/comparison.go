package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"
)

// contender is one side of a comparison.
type contender interface {
	// round does the work once and says how long each step took.
	round(ctx context.Context) ([]sample, error)
	// close ends the contender after its last round, and fails when its work
	// left something behind.
	close() error
}

// side is a contender that is yet to begin.
type side struct {
	title string // what tables call it
	open  func(ctx context.Context) (contender, error)
	// most is in how many rounds it takes part, spread evenly, for sides that
	// take seconds; 0: in all.
	most extent
}

// length is that of a whole run.
type length int

const (
	full length = iota
	quick
)

// extent is how much is done in a full run and in a quick one.
type extent [2]int

func (e extent) of(l length) int { return e[l] }

// comparison lets contenders take turns.
type comparison struct {
	name   string
	what   string // one round, for people
	sides  []side
	rows   []row
	rounds extent
	// seconds bound the time, so that a busy machine does fewer rounds.
	seconds extent
	// warmUp rounds are run and forgotten: the first ones read binaries from
	// disk and load kernel modules.
	warmUp int
}

// row is a result to be reported: a step of one side set against the same of
// another.
type row struct {
	name          string
	step          string
	subject, peer int // sides
	quantity      quantity
}

// quantity is what two sides are compared by.
type quantity int

const (
	latency quantity = iota // of a call: less is better
	rate                    // of many calls at a time: more is better
)

// fewest rounds are run however long they take.
const fewest = 2

// measure runs the rounds. The order of the sides turns round with each, so
// that whatever else the machine does, and whatever one leaves to the next,
// meets all.
func (c comparison) measure(ctx context.Context, l length) (results []result, err error) {
	var playing []contender
	defer func() {
		for i, p := range playing {
			if closeErr := p.close(); closeErr != nil {
				err = errors.Join(err, fmt.Errorf("%s: %w", c.sides[i].title, closeErr))
			}
		}
	}()
	for _, s := range c.sides {
		p, openErr := s.open(ctx)
		if openErr != nil {
			return nil, fmt.Errorf("%s: %w", s.title, openErr)
		}
		playing = append(playing, p)
	}
	var history []turns
	start := time.Now()
	for i := range c.warmUp + c.rounds.of(l) {
		late := time.Since(start) > time.Duration(c.seconds.of(l))*time.Second
		if late && len(history) >= fewest {
			break
		}
		order := c.present(i-c.warmUp, l)
		if i%2 == 1 {
			slices.Reverse(order)
		}
		played, playErr := c.play(ctx, playing, order)
		if playErr != nil {
			return nil, fmt.Errorf("round %d: %w", i, playErr)
		}
		if i >= c.warmUp {
			history = append(history, played)
		}
	}
	for _, r := range c.rows {
		x := r.compare(c.sides, history)
		if math.IsNaN(x.Ratio) {
			return nil, fmt.Errorf("%s: no call succeeded: %w", r.name, errors.Join(x.subject.why, x.theirs.why))
		}
		results = append(results, x)
	}
	return results, nil
}

// present says which sides take part in a round; all do while warming up.
func (c comparison) present(round int, l length) []int {
	var sides []int
	rounds := c.rounds.of(l)
	for i, s := range c.sides {
		most := s.most.of(l)
		if most == 0 || most >= rounds || round < 0 || round*most/rounds != (round-1)*most/rounds || round == 0 {
			sides = append(sides, i)
		}
	}
	return sides
}

// turns are the samples of one round, by side and step; sides that did not
// take part have none.
type turns []map[string]sample

func (c comparison) play(ctx context.Context, playing []contender, order []int) (turns, error) {
	played := make(turns, len(playing))
	for _, i := range order {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		samples, err := playing[i].round(ctx)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", c.sides[i].title, err)
		}
		played[i] = map[string]sample{}
		for _, s := range samples {
			played[i][s.step] = s
		}
	}
	return played, nil
}
