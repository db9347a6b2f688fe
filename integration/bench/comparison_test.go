package main

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// player writes its turns into a log that all sides share.
type player struct {
	title    string
	log      *[]string
	fail     error
	closeErr error
}

func (p player) round(context.Context) ([]sample, error) {
	*p.log = append(*p.log, p.title)
	return []sample{{step: stepRun, each: []time.Duration{time.Millisecond}, wall: time.Millisecond}}, p.fail
}

func (p player) close() error {
	*p.log = append(*p.log, p.title+" closed")
	return p.closeErr
}

func (p player) side() side {
	return side{title: p.title, open: func(context.Context) (contender, error) { return p, nil }}
}

func game(rounds int, sides ...side) comparison {
	return comparison{
		sides: sides, rounds: extent{rounds, rounds}, seconds: extent{60, 60}, warmUp: 2,
		rows: []row{{"game", stepRun, 0, 1, latency}},
	}
}

func TestSidesTakeTurnsAndTheirOrderTurnsRound(t *testing.T) {
	var log []string
	us, them := player{title: "us", log: &log}, player{title: "them", log: &log}
	results, err := game(2, us.side(), them.side()).measure(t.Context(), full)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"us", "them", "them", "us", "us", "them", "them", "us", "us closed", "them closed"}
	if diff := cmp.Diff(want, log); diff != "" {
		t.Errorf("turns (-want +got):\n%s", diff)
	}
	if len(results) != 1 || results[0].Case != "game" || results[0].Ratio != 1 || results[0].rounds != 2 {
		t.Errorf("results %+v", results)
	}
}

func TestAllSidesAreClosedAndNamedWhenOneFails(t *testing.T) {
	var log []string
	broken, left := errors.New("broken"), errors.New("left a link")
	us := player{title: "us", log: &log, fail: broken}
	them := player{title: "them", log: &log, closeErr: left}
	_, err := game(1, us.side(), them.side()).measure(t.Context(), full)
	if !errors.Is(err, broken) || !errors.Is(err, left) || !strings.Contains(err.Error(), "us: broken") || !strings.Contains(err.Error(), "them: left a link") {
		t.Errorf("error %v", err)
	}
	if closed := log[len(log)-2:]; closed[0] != "us closed" || closed[1] != "them closed" {
		t.Errorf("turns %v", log)
	}
}

func TestSlowSideTakesPartInItsShareOfTheRounds(t *testing.T) {
	for _, tt := range []struct{ rounds, most, want int }{{60, 10, 10}, {12, 2, 2}, {15, 4, 4}, {8, 8, 8}, {8, 20, 8}, {3, 1, 1}, {5, 0, 5}} {
		slow := side{most: extent{tt.most, tt.most}}
		c := comparison{sides: []side{{}, slow}, rounds: extent{tt.rounds, tt.rounds}}
		parts := 0
		for i := range tt.rounds {
			present := c.present(i, full)
			if !slices.Contains(present, 0) {
				t.Errorf("%+v: the other side is missing in round %d", tt, i)
			}
			if slices.Contains(present, 1) {
				parts++
			}
		}
		if parts != tt.want {
			t.Errorf("%+v: it takes part in %d rounds", tt, parts)
		}
	}
}

func TestRoundsInWhichASideIsMissingCountForNone(t *testing.T) {
	at := func(ms int) map[string]sample {
		return map[string]sample{stepRun: {step: stepRun, each: []time.Duration{time.Duration(ms) * time.Millisecond}}}
	}
	x := row{"game", stepRun, 0, 1, latency}.compare([]side{{title: "us"}, {title: "them"}}, []turns{{at(10), at(20)}, {at(1000), nil}, {at(10), at(20)}})
	if x.rounds != 2 || x.Ratio != 0.5 || x.P99 != 10 {
		t.Errorf("result %+v", x)
	}
}

// TestAgreedCasesAreMeasuredAgainstTheAgreedPeers is what readers of bench.json
// rely on.
func TestAgreedCasesAreMeasuredAgainstTheAgreedPeers(t *testing.T) {
	peers := map[string]string{}
	for _, c := range comparisons(binaries{}) {
		for _, r := range c.rows {
			if _, twice := peers[r.name]; twice {
				t.Errorf("case %s is there twice", r.name)
			}
			peers[r.name] = c.sides[r.peer].title
		}
	}
	want := map[string]bool{ // whether the peer is another's
		"add": true, "add-dual": true, "add-masquerade": true, "add-hostport": true, "del": true, "check": true, "status": true,
		"add-parallel-8": true, "add-parallel-32": true, "add-parallel-256": true,
		"add-at-60000": false, "add-dual-over-single": false,
	}
	for name, foreign := range want {
		side, measured := peers[name]
		if !measured {
			t.Errorf("case %s is not measured", name)
		}
		if foreign == strings.HasPrefix(side, "ropeway") {
			t.Errorf("case %s has the peer %s", name, side)
		}
	}
	for name := range targets() {
		if _, measured := peers[name]; !measured {
			t.Errorf("there is a target for %s, which is not measured", name)
		}
	}
}
