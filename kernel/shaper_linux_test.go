package kernel

import (
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// sampleShapers limit both directions of the sample pod link. The numbers are
// such that the kernel's clock does not round them.
func sampleShapers() State {
	return State{Shapers: map[ShaperKey]Shaper{
		{samplePodLink, ToPod}:   {Rate: 1_000_000, Burst: 64_000, Queue: 140_000},
		{samplePodLink, FromPod}: {Rate: 8_000_000_000, Burst: 8_000_000, Queue: 200_000_000},
	}}
}

func TestShapersReadBackEqualAndGoWithoutTrace(t *testing.T) {
	s := newSpace(t)
	before := s.sh("ip -o link; tc qdisc")
	s.reach(sampleShapers())
	changed := sampleShapers()
	changed.Shapers[ShaperKey{samplePodLink, ToPod}] = Shaper{Rate: 500_000, Burst: 32_000, Queue: 15_140}
	changed.Shapers[ShaperKey{samplePodLink, FromPod}] = Shaper{Rate: 2_000_000, Burst: 64_000, Queue: 140_000}
	s.reach(changed)
	s.reach(State{Shapers: map[ShaperKey]Shaper{{samplePodLink, FromPod}: changed.Shapers[ShaperKey{samplePodLink, FromPod}]}})
	s.reach(State{})
	s.sh("tc qdisc del dev " + samplePodLink + " clsact")
	if d := cmp.Diff(before, s.sh("ip -o link; tc qdisc")); d != "" {
		t.Errorf("(-before +after):\n%s", d)
	}
}

func TestShapersOfAnyRateReadBackAsTheyWereMade(t *testing.T) {
	s := newSpace(t)
	for _, shaper := range []Shaper{
		{Rate: 1, Burst: 1514, Queue: 15_140},
		{Rate: 125, Burst: 4_294_967_294, Queue: 131_072},
		{Rate: 1_234_567, Burst: 6_172, Queue: 30_864},
		{Rate: 1_250_000_001, Burst: 6_250_001, Queue: 31_250_000},
		{Rate: 4_294_967_296, Burst: 4_294_967_295, Queue: 4_294_967_295},
		{Rate: 125_000_000_000_000, Burst: 4_294_967_295, Queue: 4_294_967_295},
	} {
		want := State{Shapers: map[ShaperKey]Shaper{{samplePodLink, ToPod}: shaper, {samplePodLink, FromPod}: shaper}}
		if err := s.try(Diff(s.state(), want)); err != nil {
			t.Error(err)
		}
		if p := Diff(s.state(), want); !p.Empty() {
			t.Errorf("%+v: a second plan is not empty:\n%s", shaper, p)
		}
	}
}

func TestPastedShapersGiveTheSameKernelState(t *testing.T) {
	const inspection = `tc -d qdisc show | grep rw; tc filter show dev ` + samplePodLink + ` ingress; ip -o link show | sed 's/^[0-9]*: //; s/link.ether.*//' | grep rw`
	applied, pasted := newSpace(t), newSpace(t)
	applied.reach(sampleShapers())
	if out := pasted.sh(Diff(State{}, sampleShapers()).String()); out != "" {
		t.Errorf("the commands said:\n%s", out)
	}
	pasted.holds(sampleShapers())
	if d := cmp.Diff(strings.Split(applied.sh(inspection), "\n"), strings.Split(pasted.sh(inspection), "\n")); d != "" {
		t.Errorf("the tools see a difference (-applied +pasted):\n%s", d)
	}
	if out := pasted.sh(Diff(sampleShapers(), State{}).String()); out != "" {
		t.Errorf("the deletions said:\n%s", out)
	}
	pasted.holds(State{})
}

func TestDamagedShapersAreRepaired(t *testing.T) {
	ifb := ShaperLink(samplePodLink)
	s := newSpace(t)
	s.reach(sampleShapers())
	for _, damage := range []string{
		"tc qdisc del dev " + samplePodLink + " root",
		"tc qdisc replace dev " + samplePodLink + " root handle 1: tbf rate 1mbit burst 32k limit 64k",
		"tc qdisc change dev " + samplePodLink + " root handle 114: tbf rate 900mbit burst 64000 limit 140000",
		"tc qdisc del dev " + samplePodLink + " clsact",
		"tc filter del dev " + samplePodLink + " ingress pref 114",
		"tc filter replace dev " + samplePodLink + " ingress pref 114 protocol all handle 800::1 u32 match u32 0 0 action mirred egress redirect dev lo",
		"tc qdisc del dev " + ifb + " root",
		"tc qdisc replace dev " + ifb + " parent 114:1 handle 7: pfifo limit 1",
		"ip link set " + ifb + " down",
		"ip link del " + ifb,
		"ip link del " + ifb + "; ip link add " + ifb + " type bridge",
		"tc qdisc del dev " + samplePodLink + " clsact; tc qdisc add dev " + samplePodLink + " ingress",
		"tc qdisc del dev " + samplePodLink + " ingress; tc qdisc add dev " + samplePodLink + " clsact; tc filter add dev " +
			samplePodLink + " ingress pref 200 protocol ip u32 match u32 0 0 action mirred egress mirror dev lo",
	} {
		if out := s.sh(damage); out != "" {
			t.Fatalf("%s: %s", damage, out)
		}
		if Diff(s.state(), sampleShapers()).Empty() {
			t.Errorf("no difference seen after: %s", damage)
		}
		s.reach(sampleShapers())
	}
}

func TestShapersOfOthersAreLeftAlone(t *testing.T) {
	s := newSpace(t)
	s.sh("tc qdisc add dev " + samplePodLink + " root handle 1: tbf rate 1mbit burst 32k limit 64k; tc qdisc add dev " + samplePodLink + " ingress; " +
		"ip link add bwp1 type ifb; tc filter add dev " + samplePodLink + " ingress pref 1 protocol all u32 match u32 0 0 action mirred egress redirect dev bwp1")
	s.holds(State{})
}

func TestDeviceOfALinkThatIsGoneIsDeleted(t *testing.T) {
	s := newSpace(t)
	s.reach(sampleShapers())
	s.sh("ip link del " + samplePodLink)
	if d := cmp.Diff(map[ShaperKey]Shaper{{samplePodLink, FromPod}: {}}, s.state().Shapers); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	s.reach(State{})
}

func TestCheckNamesTheShaperThatDiffers(t *testing.T) {
	want := sampleShapers().Shapers
	to, from := ShaperKey{samplePodLink, ToPod}, ShaperKey{samplePodLink, FromPod}
	for name, tt := range map[string]struct {
		have map[ShaperKey]Shaper
		has  []string
	}{
		"none":        {nil, []string{"nothing limits the rate to the pod on " + samplePodLink, "nothing limits the rate from the pod on " + samplePodLink}},
		"one broken":  {map[ShaperKey]Shaper{to: want[to], from: {}}, []string{ShaperLink(samplePodLink), "redirection"}},
		"other rate":  {map[ShaperKey]Shaper{to: {Rate: 1, Burst: 64_000, Queue: 140_000}, from: want[from]}, []string{"limited to 8 bit/s", "not 8000000"}},
		"as it shall": {want, nil},
	} {
		err := compareShapers(tt.have, want)
		if err == nil && tt.has != nil || err != nil && tt.has == nil {
			t.Errorf("%s: %v", name, err)
		}
		for _, word := range tt.has {
			if !strings.Contains(err.Error(), word) {
				t.Errorf("%s: %v does not name %q", name, err, word)
			}
		}
	}
}

func FuzzParseTBF(f *testing.F) {
	f.Add(tbfOptions(Shaper{Rate: 1e6, Burst: 6e4, Queue: 1e5}).Serialize()[4:])
	f.Add(tbfOptions(Shaper{Rate: 1e12, Burst: 6e4, Queue: 1e5}).Serialize()[4:])
	f.Add([]byte{8, 0, 1, 0, 1, 2, 3, 4})
	f.Fuzz(func(t *testing.T, options []byte) {
		s := parseTBF(options)
		if s.over(s) != s {
			t.Errorf("%+v differs from itself", s)
		}
		_ = ShaperAdd{ShaperKey{samplePodLink, FromPod}, s}.String()
	})
}

func TestRetiredShaperIsNoneAndGivesItsNameBack(t *testing.T) {
	s := newSpace(t)
	s.reach(sampleShapers())
	s.sh("ip link set " + ShaperLink(samplePodLink) + " down group " + strconv.Itoa(RetiredGroup))
	if have, ok := s.state().Shapers[ShaperKey{samplePodLink, FromPod}]; ok {
		t.Errorf("it is taken for %+v", have)
	}
	s.reach(sampleShapers())
}
