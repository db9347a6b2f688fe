package ipam

import (
	"math"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestRangeSetIsWalkedOnceFromWhereItLeftOff(t *testing.T) {
	set := RangeSet{
		span("10.1.0.0/24", "10.1.0.10", "10.1.0.12", "10.1.0.1"),
		span("10.2.0.0/24", "10.2.0.20", "10.2.0.21", "10.2.0.1"),
	}
	for _, test := range []struct {
		name string
		last netip.Addr
		want []string
	}{
		{"never used", netip.Addr{}, []string{"10.1.0.10", "10.1.0.11", "10.1.0.12", "10.2.0.20", "10.2.0.21"}},
		{"elsewhere", addr("10.9.0.1"), []string{"10.1.0.10", "10.1.0.11", "10.1.0.12", "10.2.0.20", "10.2.0.21"}},
		{"other family", addr("fd00::1"), []string{"10.1.0.10", "10.1.0.11", "10.1.0.12", "10.2.0.20", "10.2.0.21"}},
		{"in the middle", addr("10.1.0.11"), []string{"10.1.0.12", "10.2.0.20", "10.2.0.21", "10.1.0.10", "10.1.0.11"}},
		{"at the end of a range", addr("10.1.0.12"), []string{"10.2.0.20", "10.2.0.21", "10.1.0.10", "10.1.0.11", "10.1.0.12"}},
		{"in the last range", addr("10.2.0.20"), []string{"10.2.0.21", "10.1.0.10", "10.1.0.11", "10.1.0.12", "10.2.0.20"}},
		{"at the very end", addr("10.2.0.21"), []string{"10.1.0.10", "10.1.0.11", "10.1.0.12", "10.2.0.20", "10.2.0.21"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var got []string
			for a, r := range set.after(test.last) {
				if !r.Contains(a) || r.size() < 2 {
					t.Errorf("%s comes with range %s", a, r)
				}
				got = append(got, a.String())
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestTotalCountsWhatPodsCanHave(t *testing.T) {
	for _, test := range []struct {
		name   string
		ranges []string // subnets
		want   uint64
	}{
		{"/30", []string{"10.1.0.0/30"}, 1},
		{"/24", []string{"10.1.0.0/24"}, 253},
		{"/8", []string{"10.0.0.0/8"}, 1<<24 - 3},
		{"pool", []string{"10.1.0.0/24", "10.2.0.0/24"}, 506},
		{"/120", []string{"fd00::/120"}, 254},
		{"/65", []string{"fd00::/65"}, 1<<63 - 2},
		{"/48", []string{"fd00::/48"}, math.MaxUint64},
		{"pool beyond 64 bits", []string{"fd00::/65", "fd01::/65", "fd02::/65"}, math.MaxUint64},
	} {
		t.Run(test.name, func(t *testing.T) {
			var c Config
			var set RangeSet
			for _, s := range test.ranges {
				r, err := newRange(prefix(s), netip.Addr{}, netip.Addr{}, netip.Addr{})
				if err != nil {
					t.Fatal(err)
				}
				set = append(set, r)
			}
			c.RangeSets = []RangeSet{set}
			if got := set.total(c.gateways()); got != test.want {
				t.Errorf("total %d, want %d", got, test.want)
			}
		})
	}
}
