package main

import (
	"slices"
	"time"
)

// sample is what one step of one round took.
type sample struct {
	step    string
	each    []time.Duration // of every call that succeeded
	wall    time.Duration   // of all of them together
	cpu     time.Duration   // that their processes used
	daemon  time.Duration   // that ropewayd used in the whole round
	failed  int
	failure error // the first
}

func (s *sample) add(took spent, err error) {
	if err != nil {
		s.failed++
		if s.failure == nil {
			s.failure = err
		}
		return
	}
	s.each = append(s.each, took.elapsed)
	s.cpu += took.cpu
}

// least is what a single call took, and 0 when there were several.
func (s *sample) least(calls int) time.Duration {
	if calls == 1 && len(s.each) == 1 {
		return s.each[0]
	}
	return 0
}

// latency is the median of the calls, in milliseconds.
func (s *sample) latency() float64 { return quantile(milliseconds(s.each), 0.5) }

// rate is how many calls succeeded a second.
func (s *sample) rate() float64 { return float64(len(s.each)) / s.wall.Seconds() }

// milliseconds are sorted.
func milliseconds(durations []time.Duration) []float64 {
	ms := make([]float64, len(durations))
	for i, d := range durations {
		ms[i] = float64(d) / float64(time.Millisecond)
	}
	slices.Sort(ms)
	return ms
}
