package topology

import (
	"maps"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ropeway-net/ropeway/bandwidth"
	"github.com/ropeway-net/ropeway/kernel"
)

func TestLimitsOfAttachedPodsAreShapers(t *testing.T) {
	limits := bandwidth.Limits{Ingress: bandwidth.Limit{Rate: 8_000_000, Burst: 800_000}, Egress: bandwidth.Limit{Rate: 16_000_000, Burst: 800_000}}
	link := fixture(VXLAN, dual, dual).Endpoints[0].HostLink
	mtu := fixture(VXLAN, dual, dual).Endpoints[0].MTU
	for name, tt := range map[string]struct {
		change func(*Input)
		want   map[kernel.ShaperKey]kernel.Shaper
	}{
		"attached":     {func(*Input) {}, bandwidth.Shapers(limits, link, mtu)},
		"no limit":     {func(in *Input) { in.Endpoints[0].Bandwidth = bandwidth.Limits{} }, nil},
		"link down":    {func(in *Input) { in.PodLinks[link] = kernel.AdminDown }, nil},
		"no link":      {func(in *Input) { delete(in.PodLinks, link) }, nil},
		"earlier boot": {func(in *Input) { in.Endpoints[0].BootID = "before" }, nil},
	} {
		in := fixture(VXLAN, dual, dual)
		in.PodLinks = maps.Clone(in.PodLinks)
		in.Endpoints[0].Bandwidth = limits
		tt.change(&in)
		r, err := Compute(in)
		if err != nil {
			t.Fatal(err)
		}
		if len(tt.want) == 0 && len(r.State.Shapers) == 0 {
			continue
		}
		if d := cmp.Diff(tt.want, r.State.Shapers); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
	}
}
