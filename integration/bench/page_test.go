package main

import (
	"encoding/xml"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// fullReport has every case, with times that differ.
func fullReport() report {
	r := report{sizes: []size{{"ropeway", 5_000_000}, {"ptp", 3_000_000}}}
	n := 0
	for _, c := range comparisons(binaries{}) {
		for _, of := range c.rows {
			var history []turns
			for i := range 10 {
				n++
				played := make(turns, len(c.sides))
				for j := range c.sides {
					took := time.Duration(1+n%7+20*j) * time.Millisecond
					s := sample{step: of.step, each: []time.Duration{took, took + time.Duration(i)*time.Millisecond}, wall: took, cpu: took}
					if strings.HasSuffix(of.name, "-256") && j == 1 {
						s.add(spent{}, errors.New("<no more addresses> & so on"))
					}
					played[j] = map[string]sample{of.step: s}
				}
				history = append(history, played)
			}
			r.results = append(r.results, of.compare(c.sides, history))
		}
	}
	for _, verb := range countedVerbs() {
		r.counts = append(r.counts, count{verb, "ropeway", 321, 4, 1})
	}
	r.machine = machine{when: time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC), kernel: "6.1", processors: 2, memory: 8 << 30}
	return r
}

func TestPlotsAreWellFormedAndWithinTheirBounds(t *testing.T) {
	numbers := regexp.MustCompile(`(x|y|x1|x2|cx)="(-?[0-9.]+)"`)
	for _, p := range fullReport().plots() {
		decoder := xml.NewDecoder(strings.NewReader(p.drawing))
		elements := map[string]int{}
		for {
			token, err := decoder.Token()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("%s: %v", p.file, err)
			}
			if e, ok := token.(xml.StartElement); ok {
				elements[e.Name.Local]++
			}
		}
		if elements["svg"] != 1 || elements["text"] < 10 || elements["line"] < 5 {
			t.Errorf("%s has %v", p.file, elements)
		}
		if strings.Contains(p.drawing, "NaN") || strings.Contains(p.drawing, "Inf") {
			t.Errorf("%s has a place that is no number", p.file)
		}
		for _, m := range numbers.FindAllStringSubmatch(p.drawing, -1) {
			if strings.HasPrefix(m[2], "-") || len(m[2]) > 5 && m[2][3] != '.' {
				t.Errorf("%s has something at %s", p.file, m[0])
			}
		}
		if !strings.Contains(p.drawing, "prefers-color-scheme: dark") {
			t.Errorf("%s ignores dark pages", p.file)
		}
	}
}

func TestScalesHoldTheirValuesAndHaveRoundTicks(t *testing.T) {
	for _, values := range [][]float64{{0.004, 1}, {1, 3000}, {7}, {math.NaN(), 0, 5}, {}} {
		s := logScale(100, 500, values)
		for _, v := range values {
			if at := s.at(v); v > 0 && (at < 100 || at > 500) {
				t.Errorf("%v: %v is at %v", values, v, at)
			}
		}
		if ticks := s.ticks(); len(ticks) < 2 || len(ticks) > 12 {
			t.Errorf("%v has ticks %v", values, ticks)
		}
	}
	if s := linearScale(300, 100, 480); s.at(0) != 300 || s.at(480) <= 100 {
		t.Errorf("linear scale %+v", s)
	}
}

func TestPageSaysWhatWasMeasuredAndHidesNoMissedTarget(t *testing.T) {
	r := fullReport()
	path := filepath.Join(t.TempDir(), "benchmarks.md")
	if err := r.writePage(path); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	page := string(text)
	for _, x := range r.results {
		if !strings.Contains(page, "| "+x.Case+" |") {
			t.Errorf("case %s is missing", x.Case)
		}
	}
	if got, want := strings.Count(page, "**missed**"), len(r.missed()); got != want || want == 0 {
		t.Errorf("%d targets are called missed, want %d", got, want)
	}
	for _, want := range []string{"4 May 2026", "Linux 6.1", "10 failed, first: <no more", "| ropeway | 321 | 4 | 1 |"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
	for _, m := range regexp.MustCompile(`\]\((benchmarks/[a-z]+\.svg)\)`).FindAllStringSubmatch(page, -1) {
		if _, err := os.Stat(filepath.Join(filepath.Dir(path), m[1])); err != nil {
			t.Errorf("the page shows a plot that is not there: %v", err)
		}
	}
}

func TestBusyMachineIsCalledBusy(t *testing.T) {
	r := fullReport()
	start := time.Now()
	r.machine.before = processorTime{at: start}
	r.machine.after = processorTime{at: start.Add(10 * time.Second), busy: 12 * time.Second, own: 3 * time.Second}
	if page := r.page("x"); !strings.Contains(page, "was busy**: other programs took 45 %") {
		t.Error("the page does not say that others took 9 of 20 seconds")
	}
	r.machine.after.own = 11 * time.Second
	if page := r.page("x"); strings.Contains(page, "was busy") || !strings.Contains(page, "took 5 % of its processors") {
		t.Error("a quiet machine is called busy")
	}
}
