package cluster

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var born = time.Unix(1_800_000_000, 0)

// claim describes a node that is so many seconds old.
func claim(name string, age int, addresses, podCIDRs string) Claim {
	return Describe(name, born.Add(-time.Duration(age)*time.Second), strings.Fields(addresses), strings.Fields(podCIDRs))
}

func TestDescribeLeavesOutWhatIsWrongAndNamesIt(t *testing.T) {
	tests := []struct {
		name                string
		addresses, podCIDRs string
		want                Node
		problems            []string
	}{
		{"both families", "192.168.1.11 fd00:1::11", "10.244.1.0/24 fd10::/64",
			Node{Addresses: addrs("192.168.1.11", "fd00:1::11"), PodCIDRs: prefixes("10.244.1.0/24", "fd10::/64")}, nil},
		{"IPv6 first is primary", "fd00:1::11 192.168.1.11", "10.244.1.0/24",
			Node{Addresses: addrs("fd00:1::11", "192.168.1.11"), PodCIDRs: prefixes("10.244.1.0/24")}, nil},
		{"the first of a family counts", "192.168.1.11 192.168.1.12 fd00:1::11", "10.244.1.0/24",
			Node{Addresses: addrs("192.168.1.11", "fd00:1::11"), PodCIDRs: prefixes("10.244.1.0/24")}, nil},
		{"link-local beside a good one", "fe80::1 192.168.1.11", "10.244.1.0/24",
			Node{Addresses: addrs("192.168.1.11"), PodCIDRs: prefixes("10.244.1.0/24")}, []string{"fe80::1 is link-local"}},
		{"loopback", "127.0.0.1", "10.244.1.0/24", Node{PodCIDRs: prefixes("10.244.1.0/24")}, []string{"loopback"}},
		{"IPv4 in IPv6", "::ffff:10.0.0.1", "::ffff:10.244.1.0/120", Node{}, []string{"write 10.0.0.1", "pod CIDR ::ffff:10.244.1.0/120"}},
		{"garbage", "x 1.2.3.4/24", "y 10.244.1.0", Node{}, []string{`"x"`, `"1.2.3.4/24"`, `"y"`, `"10.244.1.0"`}},
		{"second CIDR of a family", "192.168.1.11", "10.244.1.0/24 10.244.2.0/24",
			Node{Addresses: addrs("192.168.1.11"), PodCIDRs: prefixes("10.244.1.0/24")}, []string{"same family"}},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			got := claim("n1", 0, tc.addresses, tc.podCIDRs)
			problems := got.Problems
			got.Problems, tc.want.Name = nil, "n1"
			if diff := cmp.Diff(tc.want, got.Node, netipEqual()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if len(problems) != len(tc.problems) {
				t.Fatalf("problems %q, want %d", problems, len(tc.problems))
			}
			for n, part := range tc.problems {
				if !strings.Contains(problems[n], part) {
					t.Errorf("problem %q does not say %q", problems[n], part)
				}
			}
		})
	}
}

func addrs(texts ...string) (out []netip.Addr) {
	for _, text := range texts {
		out = append(out, netip.MustParseAddr(text))
	}
	return out
}

func prefixes(texts ...string) (out []netip.Prefix) {
	for _, text := range texts {
		out = append(out, netip.MustParsePrefix(text))
	}
	return out
}

func TestOfTwoClaimsTheOlderNodesHolds(t *testing.T) {
	tests := []struct {
		name   string
		claims []Claim
		// losers by name, with what their only problem says.
		losers map[string][]string
	}{
		{"no conflict", []Claim{claim("a", 1, "10.0.0.1", "10.244.1.0/24"), claim("b", 2, "10.0.0.2", "10.244.2.0/24")}, nil},
		{"same CIDR", []Claim{claim("a", 1, "10.0.0.1", "10.244.1.0/24"), claim("b", 2, "10.0.0.2", "10.244.1.0/24")},
			map[string][]string{"a": {"10.244.1.0/24 of node a", "of node b", "older"}}},
		{"older is narrower", []Claim{claim("a", 1, "10.0.0.1", "10.244.0.0/16"), claim("b", 2, "10.0.0.2", "10.244.1.0/24")},
			map[string][]string{"a": {"10.244.0.0/16", "10.244.1.0/24 of node b"}}},
		{"older is wider", []Claim{claim("a", 2, "10.0.0.1", "10.244.0.0/16"), claim("b", 1, "10.0.0.2", "10.244.1.0/24")},
			map[string][]string{"b": {"10.244.1.0/24", "10.244.0.0/16 of node a"}}},
		{"same age: the name decides", []Claim{claim("b", 1, "10.0.0.1", "10.244.1.0/24"), claim("a", 1, "10.0.0.2", "10.244.1.0/24")},
			map[string][]string{"b": {"of node a"}}},
		{"same address", []Claim{claim("a", 1, "10.0.0.1", "10.244.1.0/24"), claim("b", 2, "10.0.0.1", "10.244.2.0/24")},
			map[string][]string{"a": {"address 10.0.0.1", "node b"}}},
		{"three of them", []Claim{claim("a", 1, "10.0.0.1", "10.244.1.0/24"), claim("b", 2, "10.0.0.2", "10.244.1.0/25"), claim("c", 3, "10.0.0.3", "10.244.1.128/25")},
			map[string][]string{"a": {"10.244.1.0/24"}}},
		{"a loser does not win against others", []Claim{claim("a", 3, "10.0.0.1", "10.244.1.0/24"), claim("b", 2, "10.0.0.2", "10.244.0.0/16"), claim("c", 1, "10.0.0.3", "10.244.2.0/24")},
			map[string][]string{"b": {"10.244.0.0/16"}}},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			nodes, conflicts := Settle(tc.claims)
			if err := Validate(nodes); err != nil {
				t.Fatal(err)
			}
			if len(conflicts) != len(tc.losers) {
				t.Errorf("conflicts %+v, want %d", conflicts, len(tc.losers))
			}
			for _, n := range nodes {
				want := tc.losers[n.Name]
				if (len(want) > 0) != (len(n.Problems) > 0) {
					t.Errorf("problems of node %s: %q", n.Name, n.Problems)
				}
				for _, part := range want {
					if !strings.Contains(strings.Join(n.Problems, " "), part) {
						t.Errorf("problems %q of node %s do not say %q", n.Problems, n.Name, part)
					}
				}
			}
		})
	}
}

// randomClaims come from so small a space that many of them conflict.
func randomClaims(r *rand.Rand, count int) []Claim {
	out := make([]Claim, count)
	for n := range out {
		a := netip.AddrFrom4([4]byte{10, 0, 0, byte(r.IntN(count))})
		p := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 244, byte(r.IntN(8)), byte(r.IntN(256))}), 18+r.IntN(13)).Masked()
		out[n] = claim(fmt.Sprintf("n%d", n), r.IntN(4), a.String(), p.String())
	}
	return out
}

func TestSettleDecidesTheSameInAnyOrderAndTakesNothingWithoutReason(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		claims := randomClaims(r, 12)
		nodes, conflicts := Settle(claims)
		if err := Validate(nodes); err != nil {
			t.Fatalf("%+v: %v", claims, err)
		}
		r.Shuffle(len(claims), func(i, j int) { claims[i], claims[j] = claims[j], claims[i] })
		again, conflictsAgain := Settle(claims)
		if !Equal(nodes, again) || !slices.Equal(conflicts, conflictsAgain) {
			t.Fatalf("another order gave another result:\n%s", cmp.Diff(nodes, again, netipEqual()))
		}
		taken := 0
		for _, n := range nodes {
			taken += 2 - len(n.Addresses) - len(n.PodCIDRs)
		}
		if taken != len(conflicts) {
			t.Fatalf("%d claims were taken away and %d conflicts told", taken, len(conflicts))
		}
	}
}

// manyClaims are of a large cluster, in no order.
func manyClaims(count int) []Claim {
	claims := make([]Claim, count)
	for n := range claims {
		claims[n] = claim(fmt.Sprintf("n%d", n), n*7919%count, fmt.Sprintf("10.%d.%d.1", n>>8, n&255), fmt.Sprintf("11.%d.%d.0/24", n>>8, n&255))
	}
	return claims
}

func TestManyClaimsWithoutConflictAreAllKept(t *testing.T) {
	nodes, conflicts := Settle(manyClaims(5000))
	if len(nodes) != 5000 || len(conflicts) != 0 {
		t.Errorf("%d nodes, %d conflicts", len(nodes), len(conflicts))
	}
}

func BenchmarkSettleFiveThousand(b *testing.B) {
	claims := manyClaims(5000)
	for b.Loop() {
		Settle(claims)
	}
}

func FuzzDescribe(f *testing.F) {
	f.Add("n1", "192.168.1.11", "fd00::1", "10.244.1.0/24", "fd10::/64")
	f.Add("N", "::ffff:1.2.3.4", "fe80::1%eth0", "0.0.0.0/0", "::/0")
	f.Add("", "", "", "", "")
	f.Fuzz(func(t *testing.T, name, a1, a2, p1, p2 string) {
		c := Describe(name, born, []string{a1, a2}, []string{p1, p2})
		if len(c.Addresses) == 0 || len(c.PodCIDRs) == 0 {
			c.Problems = append(c.Problems, "something is missing")
		}
		nodes, _ := Settle([]Claim{c, claim("other", 1, "10.0.0.1", "10.244.1.0/24")})
		if err := Validate(nodes); err != nil {
			t.Errorf("nodes are not valid: %v", err)
		}
	})
}
