package kernel

import (
	"slices"
	"strconv"
	"testing"
	"time"
)

// ladder is a ruleset in which each chain calls the next one several times,
// sixteen deep as the kernel allows: 10^15 ways.
func ladder(last foreignRule) func(chain string) ([]foreignRule, error) {
	return func(chain string) ([]foreignRule, error) {
		depth, err := strconv.Atoi(chain)
		if err != nil || depth == 15 {
			return []foreignRule{last}, err
		}
		return slices.Repeat([]foreignRule{{verdict: jumpVerdict, target: strconv.Itoa(depth + 1)}}, 10), nil
	}
}

func TestChainsThatCallEachOtherManyTimesAreJudgedSoon(t *testing.T) {
	judged := make(chan struct{})
	go func() {
		defer close(judged)
		logging := foreignRule{idle: true, logs: true}
		j := newJudge(ladder(logging))
		end, does, err := j.decision("0")
		if end != 10 || does != returns || err != nil {
			t.Errorf("decision %d, %q, %v", end, does, err)
		}
		if place, err := j.place(j.read["0"], end); place != 0 || err != nil {
			t.Errorf("place %d, %v", place, err)
		}
		j = newJudge(ladder(foreignRule{verdict: dropVerdict}))
		if end, does, err := j.decision("0"); end != 0 || does != drops || err != nil {
			t.Errorf("decision %d, %q, %v", end, does, err)
		}
		var passes []Pass
		j = newJudge(ladder(foreignRule{conditional: true, verdict: dropVerdict}))
		if err := j.passes("0", 10, narrowing{}, &passes); err != nil {
			t.Error(err)
		}
		if !slices.Equal(passes, []Pass{{}}) {
			t.Errorf("passes %v: what was not looked at may let in everything", passes)
		}
	}()
	select {
	case <-judged:
	case <-time.After(20 * time.Second):
		t.Fatal("the chains are still being judged")
	}
}
