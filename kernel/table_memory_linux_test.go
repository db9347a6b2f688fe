package kernel

import (
	"context"
	"math/rand/v2"
	"testing"
)

// Whoever changes the table, and whatever a caller does to what it was given, a
// snapshot holds what the kernel does.
func TestRememberedTableIsTheKernels(t *testing.T) {
	s := newSpace(t)
	c := s.kernel.(*conn)
	desired := sampleState()
	desired.Table = sampleTables()["vxlan dual stack"]
	s.reach(desired)
	read := func() *Table {
		t.Helper()
		snapshot, err := c.Snapshot(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return snapshot.State.Table
	}
	fresh := func() *Table {
		t.Helper()
		table, err := snapshotTable(t.Context(), c.ns)
		if err != nil {
			t.Fatal(err)
		}
		return table
	}
	change := func(to *Table) func() {
		return func() {
			if op := diffTable(fresh(), to); op != nil {
				if err := applyTable(context.Background(), c.ns, op.(TableChange)); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	rng := rand.New(rand.NewPCG(3, 4))
	for i, step := range []func(){
		func() {},
		func() { s.sh("nft add element inet ropeway pods4 { 10.244.77.0/24 }") },
		func() { s.sh("nft delete element inet ropeway pods4 { 10.244.77.0/24 }") },
		func() { clear(read().Sets) }, // of the caller's own
		func() { s.sh("nft add table inet other; nft delete table inet other") },
		func() { s.sh("nft add chain inet ropeway foreign") },
		func() { s.sh("nft flush ruleset") },
		func() { s.sh("nft add table inet ropeway '{ flags dormant; }'") },
		change(nil), change(randomTable(rng)), change(randomTable(rng)), change(randomTable(rng)), change(nil),
	} {
		step()
		for range 2 {
			if got, want := read(), fresh(); !got.equal(want) {
				t.Errorf("step %d: snapshot\n%s\nkernel\n%s", i, got, want)
			}
		}
	}
	if c.tables.generation == 0 {
		t.Error("nothing is remembered")
	}
}
