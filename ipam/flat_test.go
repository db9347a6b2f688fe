package ipam

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// fullness is a directory that holds reservations, and what to allocate from.
type fullness struct {
	name string
	cfg  Config
	held func() []netip.Addr
	last netip.Addr // where the range goes on
}

// runOf is n addresses from a on.
func runOf(a netip.Addr, n int) []netip.Addr {
	all := make([]netip.Addr, n)
	for i := range all {
		all[i] = a
		a = a.Next()
	}
	return all
}

func fullnesses(t testing.TB) []fullness {
	const network4, network6 = "10.1.0.0/16", "fd00:1::/64"
	first4, first6 := addr("10.1.0.2"), addr("fd00:1::2")
	many := func(network string, first netip.Addr, n int) fullness {
		held := runOf(first, n)
		family := map[bool]string{true: "IPv4", false: "IPv6"}[first.Is4()]
		return fullness{fmt.Sprintf("%s with %d", family, n), newConfig(t, network), func() []netip.Addr { return held }, held[n-1]}
	}
	worst := many(network4, first4, 65533) // all that there are
	free := addr("10.1.200.7")
	worst.name = "IPv4 with one free address"
	worst.last = free // so that it comes last of all
	worst.held = func() []netip.Addr {
		var held []netip.Addr
		for _, a := range runOf(first4, 65533) {
			if a != free {
				held = append(held, a)
			}
		}
		return held
	}
	wrapped := many(network6, first6, 60000)
	wrapped.name = "IPv6 with 60000 ahead"
	wrapped.last = addr("fd00:1::ffff:ffff:ffff:ffff")
	return []fullness{
		many(network4, first4, 10), many(network4, first4, 60000), worst,
		many(network6, first6, 10), many(network6, first6, 60000), wrapped,
	}
}

// fill makes the directory as the allocator would have left it.
func (f fullness) fill(t testing.TB) {
	t.Helper()
	dir := f.cfg.Dir()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	base := ""
	for i, a := range f.held() {
		path := filepath.Join(dir, a.String())
		var err error
		if i%10000 == 0 { // a file has no more than 65,000 names
			base = path
			err = os.WriteFile(path, Attachment{fmt.Sprint("held", i), "eth0"}.content(), ownMode)
		} else {
			err = os.Link(base, path)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	put(t, f.cfg, bootName, thisBoot+"\n")
	put(t, f.cfg, lastNamePrefix+"0", f.last.String())
}

// filled makes the directory and opens it.
func (f fullness) filled(t testing.TB, trustUnique bool) (Config, *Store) {
	t.Helper()
	f.cfg.DataDir, f.cfg.TrustUnique = t.TempDir(), trustUnique
	f.fill(t)
	return f.cfg, Open(f.cfg.Dir(), thisBoot)
}

// BenchmarkAdd is an ADD and its DEL as the main plugin makes them. It takes
// turns with one among ten reservations and reports the ratio of the medians:
// times alone mean nothing on a busy machine.
func BenchmarkAdd(b *testing.B) {
	cases := fullnesses(b)
	for _, f := range cases {
		b.Run(f.name, func(b *testing.B) {
			cfg, s := f.filled(b, true)
			tenCfg, ten := cases[0].filled(b, true)
			once := func(s *Store, cfg Config, i int) time.Duration {
				start := time.Now()
				given, err := s.Allocate(b.Context(), cfg, fmt.Sprint("new", i), "eth0")
				if err == nil {
					_, err = s.Release(b.Context(), fmt.Sprint("new", i), "eth0", addressesOf(given)...)
				}
				if err != nil {
					b.Fatal(err)
				}
				return time.Since(start)
			}
			var times, tens []time.Duration
			for b.Loop() {
				times = append(times, once(s, cfg, len(times)))
				tens = append(tens, once(ten, tenCfg, len(tens)))
			}
			slices.Sort(times)
			slices.Sort(tens)
			median, tenth := times[len(times)/2], tens[len(tens)/2]
			b.ReportMetric(float64(median.Nanoseconds()), "median-ns")
			b.ReportMetric(float64(median)/float64(tenth), "of-ten")
		})
	}
}
