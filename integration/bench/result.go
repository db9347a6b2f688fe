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
	// Ratio of the medians, subject to peer: of times one below 1 is faster,
	// of rates one above. It lies between RatioLow and RatioHigh with 95 %
	// confidence.
	Ratio     float64 `json:"ratio"`
	RatioLow  float64 `json:"ratio_low"`
	RatioHigh float64 `json:"ratio_high"`

	detail
}

// detail is what only people look at.
type detail struct {
	quantity        quantity
	rounds          int // in which both took part
	calls           int // of the subject that are in P50 and P99
	subject, theirs figures
}

// figures of one side.
type figures struct {
	p50, p99 float64 // milliseconds
	rate     float64 // a second
	cpu      float64 // milliseconds a call, of its processes
	daemon   float64 // milliseconds an attachment, of ropewayd
	failed   int     // calls
	why      error   // the first failed
}

// compare makes a result of the rounds in which both sides took part.
func (r row) compare(sides []side, history []turns) result {
	var subject, peer []sample
	for _, played := range history {
		a, hasA := played[r.subject][r.step]
		b, hasB := played[r.peer][r.step]
		if hasA && hasB {
			subject, peer = append(subject, a), append(peer, b)
		}
	}
	ours, theirs := r.quantity.values(subject), r.quantity.values(peer)
	low, high := ratioBounds(ours, theirs)
	x := result{
		Case: r.name, Subject: sides[r.subject].title, Peer: sides[r.peer].title,
		Ratio: median(ours) / median(theirs), RatioLow: low, RatioHigh: high,
		detail: detail{quantity: r.quantity, rounds: len(subject), subject: r.quantity.figures(subject), theirs: r.quantity.figures(peer)},
	}
	for _, s := range subject {
		x.calls += len(s.each)
	}
	x.P50, x.P99, x.Rate = x.subject.p50, x.subject.p99, x.subject.rate
	return x
}

// values has one for each round, in order.
func (q quantity) values(samples []sample) []float64 {
	var values []float64
	for _, s := range samples {
		if q == rate {
			values = append(values, s.rate())
		} else {
			values = append(values, s.latency())
		}
	}
	return values
}

func (q quantity) figures(samples []sample) figures {
	var f figures
	var all []time.Duration
	var cpu, daemon float64
	for _, s := range samples {
		all = append(all, s.each...)
		cpu += s.cpu.Seconds() * 1000
		daemon += s.daemon.Seconds() * 1000
		f.failed += s.failed
		if f.why == nil {
			f.why = s.failure
		}
	}
	ms := milliseconds(all)
	f.p50, f.p99 = quantile(ms, 0.5), quantile(ms, 0.99)
	f.cpu, f.daemon = cpu/float64(len(all)), daemon/float64(len(all))
	if q == rate {
		f.rate = median(q.values(samples))
	} else {
		f.rate = 1000 / mean(ms)
	}
	return f
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

func median(values []float64) float64 {
	sorted := slices.Clone(values)
	slices.Sort(sorted)
	return quantile(sorted, 0.5)
}

func mean(values []float64) float64 {
	sum := 0.0
	for _, v := range values {
		sum += v
	}
	return sum / float64(len(values))
}

// ratioBounds is the 95 % confidence interval of the ratio of medians, by
// drawing rounds again and again. A round is drawn with both its sides, since
// what the machine did meanwhile met both. Its randomness is fixed: the same
// samples have the same bounds.
func ratioBounds(a, b []float64) (low, high float64) {
	if len(a) == 0 {
		return math.NaN(), math.NaN()
	}
	const draws = 2000
	random := rand.New(rand.NewPCG(114, 1))
	ratios := make([]float64, draws)
	drawnA, drawnB := make([]float64, len(a)), make([]float64, len(b))
	for i := range ratios {
		for j := range drawnA {
			from := random.IntN(len(a))
			drawnA[j], drawnB[j] = a[from], b[from]
		}
		ratios[i] = median(drawnA) / median(drawnB)
	}
	slices.Sort(ratios)
	return quantile(ratios, 0.025), quantile(ratios, 0.975)
}
