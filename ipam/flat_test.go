package ipam

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
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

// BenchmarkAdd is an ADD and its DEL, by the main plugin, which knows that the
// attachment is new, and by ropeway-ipam alone.
func BenchmarkAdd(b *testing.B) {
	for _, f := range fullnesses(b) {
		for _, trust := range []bool{true, false} {
			name := f.name + ", alone"
			if trust {
				name = f.name + ", in process"
			}
			b.Run(name, func(b *testing.B) {
				g := f
				g.cfg.DataDir, g.cfg.TrustUnique = b.TempDir(), trust
				g.fill(b)
				s := Open(g.cfg.Dir(), thisBoot)
				i := 0
				for b.Loop() {
					i++
					id := fmt.Sprint("new", i)
					given, err := s.Allocate(b.Context(), g.cfg, id, "eth0")
					if err != nil {
						b.Fatal(err)
					}
					if _, err := s.Release(b.Context(), id, "eth0", addressesOf(given)...); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
