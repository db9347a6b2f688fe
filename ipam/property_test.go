package ipam

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
)

// TestNoAddressIsHeldTwice plays random sequences against a model of who holds
// what: an address is given only while free, a range gives exactly as many as it
// has, and the directory never says anything else than the model.
func TestNoAddressIsHeldTwice(t *testing.T) {
	for seed := range uint64(8) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			c := newConfig(t, "10.1.0.0/28", "fd00:1::/124")
			c.RangeSets[1][0].End = addr("fd00:1::e") // 13 of each
			c.TrustUnique = seed%2 == 0
			m := model{t, c, Open(c.Dir(), thisBoot), map[netip.Addr]string{}, map[string][]netip.Addr{}}
			random := rand.New(rand.NewPCG(seed, 114))
			for i := range 120 {
				id := fmt.Sprint("c", random.IntN(18))
				switch {
				case m.holds[id] == nil:
					m.add(id)
				case random.IntN(3) > 0:
					m.del(id, random.IntN(2) == 0)
				}
				if i%10 == 0 {
					m.compare()
				}
			}
		})
	}
}

type model struct {
	t      *testing.T
	cfg    Config
	store  *Store
	holder map[netip.Addr]string
	holds  map[string][]netip.Addr
}

func (m model) add(id string) {
	given, err := m.store.Allocate(m.t.Context(), m.cfg, id, "eth0")
	full := len(m.holds) == 13
	if full != errors.Is(err, ErrFull) || !full && err != nil {
		m.t.Fatalf("with %d of 13 in use: %v", len(m.holds), err)
	}
	for _, g := range given {
		a := g.Address.Addr()
		if other, ok := m.holder[a]; ok {
			m.t.Fatalf("%s given to %s while %s holds it", a, id, other)
		}
		m.holder[a] = id
		m.holds[id] = append(m.holds[id], a)
	}
}

func (m model) del(id string, withHint bool) {
	var hint []netip.Addr
	if withHint {
		hint = m.holds[id]
	}
	freed, err := m.store.Release(m.t.Context(), id, "eth0", hint...)
	if err != nil {
		m.t.Fatal(err)
	}
	same(m.t, "freed", m.holds[id], freed)
	for _, a := range m.holds[id] {
		delete(m.holder, a)
	}
	delete(m.holds, id)
}

func (m model) compare() {
	list, err := m.store.List(m.t.Context())
	if err != nil {
		m.t.Fatal(err)
	}
	got := map[netip.Addr]string{}
	for _, r := range list {
		got[r.Address] = r.ContainerID
	}
	same(m.t, "reservations", m.holder, got)
	same(m.t, "number of files", len(m.holder), len(ls(m.t, m.cfg)))
}
