package main

import (
	"fmt"
	"math"
)

// plot is a chart and the file that it goes to.
type plot struct {
	file, caption, drawing string
}

// plots need a report of all cases.
func (r report) plots() []plot {
	return []plot{
		{"latency.svg", "time of one call, of ropeway, ptp and bridge", r.latencyChart().draw()},
		{"ratios.svg", "ratios to the reference and what is promised", r.ratioChart().draw()},
		{"reservations.svg", "ADD by the number of reservations", r.reservationChart().draw()},
		{"parallel.svg", "ADD and DEL a second by pods at a time", r.parallelChart().draw()},
	}
}

func (r report) find(name string) (result, bool) {
	for _, x := range r.results {
		if x.Case == name {
			return x, true
		}
	}
	return result{}, false
}

func (f figures) spread() spread { return spread{f.p50, f.p50, f.p99} }

// latencyChart shows medians that reach to the 99th percentile.
func (r report) latencyChart() dotChart {
	c := dotChart{
		title: "One call at a time: median, and line to the 99th percentile", unit: "milliseconds (logarithmic)",
		series: []string{"ropeway", "ptp", "bridge"},
	}
	for _, of := range []struct{ label, ptp, bridge string }{
		{"ADD", "add", "add-vs-bridge"},
		{"ADD, dual-stack", "add-dual", "add-dual-vs-bridge"},
		{"ADD, masquerade", "add-masquerade", "add-masquerade-vs-bridge"},
		{"ADD, host port", "add-hostport", ""},
		{"CHECK", "check", "check-vs-bridge"},
		{"STATUS", "status", "status-vs-bridge"},
		{"DEL", "del", "del-vs-bridge"},
		{"DEL until link is gone", "del-until-gone", "del-until-gone-vs-bridge"},
	} {
		x, measured := r.find(of.ptp)
		if !measured {
			continue
		}
		row := dotRow{of.label, []spread{x.subject.spread(), x.theirs.spread(), {math.NaN(), math.NaN(), math.NaN()}}, 0}
		if y, measured := r.find(of.bridge); measured {
			row.values[2] = y.theirs.spread()
		}
		c.rows = append(c.rows, row)
	}
	return c
}

func (r report) ratioChart() dotChart {
	c := dotChart{
		title: "Time as a share of the peer's in the same run, with 95 % interval", unit: "ratio (logarithmic; left of 1 is faster)",
		series: []string{"measured"}, one: true, goal: "promised at most",
	}
	for _, name := range []string{
		"add", "add-dual", "add-masquerade", "add-hostport", "check", "status", "del", "del-until-gone",
		"add-at-60000", "add-dual-over-single",
	} {
		if x, measured := r.find(name); measured {
			c.rows = append(c.rows, dotRow{name, []spread{{x.Ratio, x.RatioLow, x.RatioHigh}}, targets()[name].most})
		}
	}
	return c
}

func (r report) reservationChart() lineChart {
	c := lineChart{
		title: "ADD in a network that holds addresses already: median, and line to the 99th percentile",
		xUnit: "reservations (logarithmic)", yUnit: "milliseconds (logarithmic)",
		series: []string{"ropeway", "ptp + host-local"}, y: make([][]spread, 2),
	}
	for _, n := range held() {
		x, measured := r.find(fmt.Sprintf("add-at-%d-vs-ptp", n))
		if !measured {
			continue
		}
		c.x = append(c.x, float64(n))
		c.y[0], c.y[1] = append(c.y[0], x.subject.spread()), append(c.y[1], x.theirs.spread())
	}
	return c
}

func (r report) parallelChart() barChart {
	c := barChart{
		title: "Many pods at a time", xUnit: "pods at a time; DEL until their links have gone", yUnit: "pods a second",
		series: []string{"ropeway", "ptp"},
	}
	for _, verb := range []struct{ label, name string }{{"ADD", "add-parallel"}, {"DEL", "del-until-gone-parallel"}} {
		for _, n := range crowds() {
			if x, measured := r.find(fmt.Sprintf("%s-%d", verb.name, n.width)); measured {
				c.groups = append(c.groups, fmt.Sprintf("%s, %d", verb.label, n.width))
				c.values = append(c.values, []float64{x.subject.rate, x.theirs.rate})
			}
		}
	}
	return c
}
