package bandwidth

import (
	"encoding/json"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ropeway-net/ropeway/kernel"
)

func TestShapersFollowTheLimits(t *testing.T) {
	const mbit = 1_000_000
	for _, tt := range []struct {
		name  string
		limit Limit
		want  kernel.Shaper
	}{
		{"10 Mbit/s of an annotation, containerd", Limit{10 * mbit, math.MaxUint32}, kernel.Shaper{Rate: 1_250_000, Burst: 6_250, Queue: 31_250}},
		{"10 Mbit/s of an annotation, CRI-O", Limit{10 * mbit, math.MaxUint32*8 - 1}, kernel.Shaper{Rate: 1_250_000, Burst: 6_250, Queue: 31_250}},
		{"1 Gbit/s of an annotation", Limit{1000 * mbit, math.MaxUint32}, kernel.Shaper{Rate: 125_000_000, Burst: 625_000, Queue: 3_125_000}},
		{"a burst that was asked for", Limit{10 * mbit, 8 * mbit}, kernel.Shaper{Rate: 1_250_000, Burst: 1_000_000, Queue: 131_072}},
		{"a burst below a frame", Limit{16, 9}, kernel.Shaper{Rate: 2, Burst: 1_518, Queue: 15_180}},
		{"less than a byte a second", Limit{1, 1}, kernel.Shaper{Rate: 1, Burst: 1_518, Queue: 15_180}},
		{"a burst too small for the rate", Limit{10_000 * mbit, 80_000}, kernel.Shaper{Rate: 1_250_000_000, Burst: 1_250_000, Queue: 31_250_000}},
		{"the largest", Limit{MaxRate, MaxBurst - 1}, kernel.Shaper{Rate: 125_000_000_000_000, Burst: math.MaxUint32, Queue: math.MaxUint32}},
	} {
		got := Shapers(Limits{Ingress: tt.limit}, "rwp1", 1500)
		want := map[kernel.ShaperKey]kernel.Shaper{{Link: "rwp1", Direction: kernel.ToPod}: tt.want}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, d)
		}
		got = Shapers(Limits{Egress: tt.limit}, "rwp1", 1500)
		want = map[kernel.ShaperKey]kernel.Shaper{{Link: "rwp1", Direction: kernel.FromPod}: tt.want}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s, egress (-want +got):\n%s", tt.name, d)
		}
	}
	if got := Shapers(Limits{}, "rwp1", 1500); len(got) != 0 {
		t.Errorf("no limits make %v", got)
	}
}

func TestValidateNamesWhatIsWrong(t *testing.T) {
	for word, l := range map[string]Limits{
		"ingressBurst: 0: ":              {Ingress: Limit{Rate: 1}},
		"ingressRate: 0: ":               {Ingress: Limit{Burst: 1}},
		"egressBurst: 0: ":               {Egress: Limit{Rate: 1}},
		"egressRate: 1000000000000001: ": {Egress: Limit{Rate: MaxRate + 1, Burst: 1}},
		"egressBurst: 34359738360: ":     {Egress: Limit{Rate: 1, Burst: MaxBurst + 1}},
	} {
		if err := l.Validate(); err == nil || !strings.HasPrefix(err.Error(), word) {
			t.Errorf("%+v: %v, want %s…", l, err, word)
		}
	}
	for _, l := range []Limits{{}, {Ingress: Limit{1, 1}}, {Egress: Limit{MaxRate, MaxBurst}}} {
		if err := l.Validate(); err != nil {
			t.Errorf("%+v: %v", l, err)
		}
	}
}

func TestLimitsMakeTheRoundTripThroughJSON(t *testing.T) {
	for _, want := range []Limits{{}, {Ingress: Limit{MaxRate, MaxBurst}}, {Egress: Limit{1, 2}, Ingress: Limit{3, 4}}} {
		b, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		var got Limits
		if err := json.Unmarshal(b, &got); err != nil || got != want {
			t.Errorf("%+v became %+v by %s, %v", want, got, b, err)
		}
	}
}
