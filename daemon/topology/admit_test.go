package topology

import (
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/ropeway-net/ropeway/daemon/cluster"
)

// randomPrefixes come from so small a space that many of them overlap.
func randomPrefixes(r *rand.Rand, count int) []netip.Prefix {
	out := make([]netip.Prefix, count)
	for n := range out {
		a := netip.AddrFrom4([4]byte{10, 0, byte(r.IntN(4)), byte(r.IntN(256))})
		if r.IntN(2) == 0 {
			a = netip.AddrFrom16([16]byte{0xfd, 3: byte(r.IntN(4)), 4: byte(r.IntN(256))})
		}
		out[n] = netip.PrefixFrom(a, 18+r.IntN(13)).Masked()
	}
	return out
}

func TestClaimsFindWhatAComparisonWithEachFinds(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		prefixes := randomPrefixes(r, 30)
		c := newClaims(Input{Self: cluster.Node{PodCIDRs: prefixes}})
		var held []netip.Prefix
		for _, p := range prefixes {
			want := false
			for _, h := range held {
				want = want || h.Overlaps(p)
			}
			other, got := c.overlapping(p)
			if got != want || got && !other.podCIDR.Overlaps(p) {
				t.Fatalf("%s overlaps %v (%v), want %v of %v", p, other.podCIDR, got, want, held)
			}
			if !got {
				c.add(p, "n")
				held = append(held, p)
			}
		}
	}
}

// manyPeers are those of a very large cluster, in random order.
func manyPeers(count int) Input {
	in := fixture(VXLAN, only4, only4)
	in.Peers = nil
	for n, at := range rand.New(rand.NewPCG(1, 2)).Perm(count) {
		in.Peers = append(in.Peers, cluster.Node{
			Name:      "p" + string(rune('a'+n%26)),
			Addresses: []netip.Addr{netip.AddrFrom4([4]byte{172, 20, byte(at >> 8), byte(at)})},
			PodCIDRs:  []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{11, byte(at >> 8), byte(at), 0}), 24)},
		})
	}
	return in
}

func TestTwentyThousandPeersInAnyOrderAreAdmitted(t *testing.T) {
	peers, problems := admitPeers(manyPeers(20000), underlay{})
	if len(peers) != 20000 || len(problems) != 0 {
		t.Errorf("%d peers, %d problems", len(peers), len(problems))
	}
}

func BenchmarkAdmitTwentyThousandPeers(b *testing.B) {
	in := manyPeers(20000)
	for b.Loop() {
		admitPeers(in, underlay{})
	}
}
