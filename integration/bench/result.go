package main

import (
	"math"
	"math/rand/v2"
	"slices"
	"time"
)

// result is one case: how the subject did, and how that compares to its peer.
type result struct {
	Case    string  `json:"case"`
	Subject string  `json:"subject"`
	Peer    string  `json:"peer"`
	P50     float64 `json:"p50_ms"`
	P99     float64 `json:"p99_ms"`
	Rate    float64 `json:"rate_per_s"`
	// Ratio of the medians, subject to peer: below 1 the subject is faster.
	// It lies between RatioLow and RatioHigh with 95 % confidence.
	Ratio     float64 `json:"ratio"`
	RatioLow  float64 `json:"ratio_low"`
	RatioHigh float64 `json:"ratio_high"`

	peerP50, peerP99 float64
}

func compare(name, subject string, ours []time.Duration, peer string, theirs []time.Duration) result {
	a, b := milliseconds(ours), milliseconds(theirs)
	low, high := ratioBounds(a, b)
	return result{
		Case: name, Subject: subject, Peer: peer,
		P50: quantile(a, 0.5), P99: quantile(a, 0.99), Rate: 1000 / mean(a),
		Ratio: quantile(a, 0.5) / quantile(b, 0.5), RatioLow: low, RatioHigh: high,
		peerP50: quantile(b, 0.5), peerP99: quantile(b, 0.99),
	}
}

// milliseconds are sorted.
func milliseconds(durations []time.Duration) []float64 {
	ms := make([]float64, len(durations))
	for i, d := range durations {
		ms[i] = float64(d) / float64(time.Millisecond)
	}
	slices.Sort(ms)
	return ms
}

// quantile of sorted values, between the two nearest ones.
func quantile(sorted []float64, q float64) float64 {
	if len(sorted) == 0 {
		return math.NaN()
	}
	position := q * float64(len(sorted)-1)
	i := int(position)
	if i+1 == len(sorted) {
		return sorted[i]
	}
	return sorted[i] + (position-float64(i))*(sorted[i+1]-sorted[i])
}

func mean(values []float64) float64 {
	sum := 0.0
	for _, v := range values {
		sum += v
	}
	return sum / float64(len(values))
}

// ratioBounds is the 95 % confidence interval of the ratio of medians, by
// resampling both sides. Its randomness is fixed: the same samples have the
// same bounds.
func ratioBounds(a, b []float64) (low, high float64) {
	const resamples = 2000
	random := rand.New(rand.NewPCG(114, 1))
	ratios := make([]float64, resamples)
	for i := range ratios {
		ratios[i] = resampledMedian(random, a) / resampledMedian(random, b)
	}
	slices.Sort(ratios)
	return quantile(ratios, 0.025), quantile(ratios, 0.975)
}

func resampledMedian(random *rand.Rand, values []float64) float64 {
	drawn := make([]float64, len(values))
	for i := range drawn {
		drawn[i] = values[random.IntN(len(values))]
	}
	slices.Sort(drawn)
	return quantile(drawn, 0.5)
}
