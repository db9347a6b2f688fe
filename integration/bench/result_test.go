package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func span(from, to int) []time.Duration {
	var d []time.Duration
	for i := from; i <= to; i++ {
		d = append(d, time.Duration(i)*time.Millisecond)
	}
	return d
}

func TestQuantilesLieBetweenTheNearestValues(t *testing.T) {
	tests := []struct {
		name   string
		sorted []float64
		q      float64
		want   float64
	}{
		{"one value", []float64{7}, 0.99, 7},
		{"odd", []float64{1, 2, 9}, 0.5, 2},
		{"even", []float64{1, 2, 4, 9}, 0.5, 3},
		{"lowest", []float64{1, 2}, 0, 1},
		{"highest", []float64{1, 2}, 1, 2},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := quantile(test.sorted, test.q); got != test.want {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}

// rounds are samples of one call each.
func rounds(durations []time.Duration) []turns {
	var list []turns
	for _, d := range durations {
		list = append(list, turns{
			{stepRun: {step: stepRun, each: []time.Duration{d}, wall: d}},
			{stepRun: {step: stepRun, each: []time.Duration{2 * d}, wall: 2 * d}},
		})
	}
	return list
}

func sidesOf(us, them string) []side { return []side{{title: us}, {title: them}} }

func TestRatioIsSubjectToPeerAndLiesInItsBounds(t *testing.T) {
	of := row{"add", stepRun, 0, 1, latency}
	x := of.compare(sidesOf("us", "them"), rounds(span(90, 110)))
	if x.P50 != 100 || x.theirs.p50 != 200 || x.Ratio != 0.5 || x.Rate != 10 || x.calls != 21 {
		t.Errorf("got %+v", x)
	}
	if again := of.compare(sidesOf("us", "them"), rounds(span(90, 110))); again != x {
		t.Errorf("the same samples gave %+v and %+v", x, again)
	}
	of.quantity = rate
	if x := of.compare(sidesOf("us", "them"), rounds(span(90, 110))); x.Ratio != 2 || x.Rate != 10 || x.theirs.rate != 5 {
		t.Errorf("rates gave %+v", x)
	}
}

// What slows down the machine meets both sides of a round, and must not widen
// the interval as it would if rounds were torn apart.
func TestBoundsAreOfRoundsAndNotOfSides(t *testing.T) {
	low, high := ratioBounds([]float64{1, 10, 100, 3, 30}, []float64{2, 20, 200, 6, 60})
	if low != 0.5 || high != 0.5 {
		t.Errorf("bounds %v to %v, want 0.5 to 0.5", low, high)
	}
	low, high = ratioBounds([]float64{1, 2, 3}, []float64{3, 3, 3})
	if low >= high || low < 1./3 || high > 1 {
		t.Errorf("bounds %v to %v", low, high)
	}
}

func testReport() report {
	add, del := row{"add", stepRun, 1, 0, latency}, row{"del-vs-bridge", stepRun, 0, 1, latency}
	return report{
		results: []result{
			add.compare(sidesOf("ptp", "ropeway"), rounds(span(10, 20))),
			del.compare(sidesOf("ropeway", "bridge"), rounds(span(10, 20))),
		},
		sizes: []size{{"ropeway", 8_000_000}, {"ptp", 9_000_000}},
	}
}

func TestFileHasTheAgreedKeys(t *testing.T) {
	path := filepath.Join(t.TempDir(), "deep", "bench.json")
	if err := testReport().writeJSON(path); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var list []map[string]any
	if err := json.Unmarshal(b, &list); err != nil {
		t.Fatal(err)
	}
	if len(list) != 2 || list[0]["case"] != "add" || list[0]["ratio"] != 2.0 || list[0]["peer"] != "ptp" {
		t.Fatalf("results %v", list)
	}
	want := []string{"case", "p50_ms", "p99_ms", "peer", "rate_per_s", "ratio", "ratio_high", "ratio_low", "subject"}
	if diff := cmp.Diff(want, slices.Sorted(maps.Keys(list[0]))); diff != "" {
		t.Errorf("keys (-want +got):\n%s", diff)
	}
}

func TestMissedTargetsAreNamed(t *testing.T) {
	r := testReport()
	if diff := cmp.Diff([]string{"add at most 0.45", "ropeway under 7.0 MB"}, r.missed()); diff != "" {
		t.Errorf("missed (-want +got):\n%s", diff)
	}
	var out bytes.Buffer
	if err := r.print(&out); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(out.String(), "missed"); n != 2 {
		t.Errorf("%d targets are called missed, want 2:\n%s", n, &out)
	}
}

func TestEachKindOfTargetIsMetAndMissed(t *testing.T) {
	failed := result{detail: detail{subject: figures{failed: 1}}}
	for _, tt := range []struct {
		target      target
		met, missed result
	}{
		{target{most: 0.5}, result{Ratio: 0.5}, result{Ratio: 0.51}},
		{target{least: 2}, result{Ratio: 2}, result{Ratio: 1.9}},
		{target{milliseconds: 15}, result{P50: 15}, result{P50: 15.1}},
		{target{flawless: true}, result{}, failed},
	} {
		if tt.target.judge(tt.met) != met || tt.target.judge(tt.missed) != missed {
			t.Errorf("target %s: %v where it is met, %v where it is missed", tt.target, tt.target.judge(tt.met), tt.target.judge(tt.missed))
		}
	}
}

func TestFailedCallsAreCountedAndExplained(t *testing.T) {
	var s sample
	s.add(spent{elapsed: time.Millisecond}, nil)
	s.add(spent{}, errors.New("no address"))
	s.add(spent{}, errors.New("another"))
	x := row{"game", "", 0, 0, latency}.compare(sidesOf("us", "us"), []turns{{{"": s}}})
	got := (report{results: []result{x}}).errors()
	if len(got) != 2 || !strings.Contains(got[0], "2 failed, first: no address") {
		t.Errorf("errors %q", got)
	}
	if x.calls != 1 {
		t.Errorf("%d calls, want 1", x.calls)
	}
}
