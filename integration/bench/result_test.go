package main

import (
	"bytes"
	"encoding/json"
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

func TestRatioIsSubjectToPeerAndLiesInItsBounds(t *testing.T) {
	r := compare("add", "us", span(90, 110), "them", span(190, 210))
	if r.P50 != 100 || r.peerP50 != 200 || r.Ratio != 0.5 || r.Rate != 10 {
		t.Errorf("got %+v", r)
	}
	if r.RatioLow > 0.5 || r.RatioHigh < 0.5 || r.RatioLow < 0.4 || r.RatioHigh > 0.6 {
		t.Errorf("bounds %v to %v are not close around 0.5", r.RatioLow, r.RatioHigh)
	}
	if again := compare("add", "us", span(90, 110), "them", span(190, 210)); again != r {
		t.Errorf("the same samples gave %+v and %+v", r, again)
	}
}

func TestReportHasTheAgreedKeysAndNamesMissedTargets(t *testing.T) {
	r := report{
		Results: []result{
			compare("add", "ropeway", span(30, 40), "ptp", span(10, 20)),
			compare("del", "ropeway", span(30, 40), "ptp", span(10, 20)),
		},
		Sizes: []size{{"ropeway", 8_000_000}},
	}
	var out bytes.Buffer
	path := filepath.Join(t.TempDir(), "deep", "bench.json")
	if err := r.write(&out, path); err != nil {
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
	if len(list) != 2 {
		t.Fatalf("%d results, want 2", len(list))
	}
	var keys []string
	for key := range list[0] {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	want := []string{"case", "p50_ms", "p99_ms", "peer", "rate_per_s", "ratio", "ratio_high", "ratio_low", "subject"}
	if diff := cmp.Diff(want, keys); diff != "" {
		t.Errorf("keys (-want +got):\n%s", diff)
	}
	if n := strings.Count(out.String(), "missed"); n != 2 {
		t.Errorf("%d targets are called missed, want 2 (add and the size):\n%s", n, &out)
	}
	if r.met() {
		t.Error("the report says that its targets are met")
	}
}
