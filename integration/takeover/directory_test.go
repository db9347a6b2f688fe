package takeover

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The two allocators.
const (
	theirs = "host-local"
	ours   = "ropeway-ipam"
)

// conf is a configuration that both allocators understand.
func (n *node) conf(plugin string, subnets ...string) map[string]any {
	var ranges [][]map[string]string
	for _, s := range subnets {
		ranges = append(ranges, []map[string]string{{"subnet": s}})
	}
	return map[string]any{
		"cniVersion": "1.0.0", "name": "net", "type": "ptp",
		"ipam": map[string]any{"type": plugin, "dataDir": n.networks, "ranges": ranges},
	}
}

func same(t *testing.T, what string, want, got any) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func withPrevious(conf map[string]any, a answer) map[string]any {
	more := map[string]any{"prevResult": a.raw}
	for k, v := range conf {
		more[k] = v
	}
	return more
}

// TestEitherTakesOverTheOthersDirectory goes both ways: what the first gave is
// held, checked and freed by the second, which goes on where the first stopped.
func TestEitherTakesOverTheOthersDirectory(t *testing.T) {
	for _, way := range []struct{ from, to string }{{theirs, ours}, {ours, theirs}} {
		t.Run("from "+way.from+" to "+way.to, func(t *testing.T) {
			n := newNode(t)
			subnets := []string{"10.1.0.0/28", "fd00:1::/124"}
			before, after := n.conf(way.from, subnets...), n.conf(way.to, subnets...)
			var given []answer
			for i := range 3 {
				given = append(given, n.must(call{way.from, "ADD", fmt.Sprint("old", i), "", before}))
			}
			same(t, "given", []string{"10.1.0.4", "fd00:1::4"}, given[2].addresses())

			same(t, "the next", []string{"10.1.0.5", "fd00:1::5"}, n.must(call{way.to, "ADD", "new", "", after}).addresses())
			for i, a := range given {
				n.must(call{way.to, "CHECK", fmt.Sprint("old", i), "", withPrevious(after, a)})
			}
			if a, err := n.run(call{way.to, "ADD", "old0", "", after}); err == nil {
				t.Errorf("a second ADD of a container gave %v", a.addresses())
			}
			n.must(call{way.to, "DEL", "old1", "", after})
			same(t, "after a DEL", []string{"10.1.0.2", "10.1.0.4", "10.1.0.5", "fd00:1::2", "fd00:1::4", "fd00:1::5"}, n.reservations())

			// And back: what either made, the other frees.
			n.must(call{way.from, "DEL", "new", "", before})
			same(t, "back again", []string{"10.1.0.6", "fd00:1::6"}, n.must(call{way.from, "ADD", "newer", "", before}).addresses())
			for _, id := range []string{"old0", "old2", "newer"} {
				n.must(call{way.to, "DEL", id, "", after})
			}
			same(t, "at the end", []string(nil), n.reservations())
		})
	}
}

func TestOldAndBrokenFilesOfHostLocalAreTakenOver(t *testing.T) {
	n := newNode(t)
	conf := n.conf(ours, "10.1.0.0/29") // .2 to .6
	n.must(call{theirs, "ADD", "a", "", n.conf(theirs, "10.1.0.0/29")})
	n.put("10.1.0.3", "legacy") // as versions before the interface was kept
	n.put("10.1.0.4", "")       // a crash between its two writes
	n.put("last_reserved_ip.0", "")
	n.put("last_reserved_ip.7", "rubbish")
	var got []string
	for i := range 3 {
		got = append(got, n.must(call{ours, "ADD", fmt.Sprint("new", i), "", conf}).addresses()...)
	}
	same(t, "given, the empty file's too", []string{"10.1.0.4", "10.1.0.5", "10.1.0.6"}, got)
	if a, err := n.run(call{ours, "ADD", "more", "", conf}); err == nil {
		t.Errorf("a full range gave %v", a.addresses())
	}
	n.must(call{ours, "DEL", "legacy", "", conf})
	same(t, "after the DEL of a legacy reservation", []string{"10.1.0.2", "10.1.0.4", "10.1.0.5", "10.1.0.6"}, n.reservations())
	same(t, "its address", []string{"10.1.0.3"}, n.must(call{ours, "ADD", "more", "", conf}).addresses())
}

// TestRandomChangesBetweenThemNeverGiveAnAddressTwice lets either allocator
// serve each call.
func TestRandomChangesBetweenThemNeverGiveAnAddressTwice(t *testing.T) {
	n := newNode(t)
	random := rand.New(rand.NewPCG(114, 1))
	held := map[string]string{} // container by address
	containers := map[string][]string{}
	for i := range 120 {
		plugin := []string{theirs, ours}[random.IntN(2)]
		conf := n.conf(plugin, "10.1.0.0/28", "fd00:1::/124")
		id := fmt.Sprint("c", random.IntN(12))
		if addrs := containers[id]; addrs != nil {
			n.must(call{plugin, "DEL", id, "", conf})
			for _, a := range addrs {
				delete(held, a)
			}
			delete(containers, id)
			continue
		}
		for _, a := range n.must(call{plugin, "ADD", id, "", conf}).addresses() {
			if other, taken := held[a]; taken {
				t.Fatalf("call %d: %s gave %s to %s while %s holds it", i, plugin, a, id, other)
			}
			held[a] = id
			containers[id] = append(containers[id], a)
		}
	}
	for a, id := range held {
		b, err := os.ReadFile(filepath.Join(n.networks, "net", a))
		if err != nil || string(b) != id+"\r\neth0" {
			t.Errorf("%s holds %q, %v; want %s", a, b, err, id)
		}
	}
	same(t, "number of reservations", len(held), len(n.reservations()))
}

// TestRebootFreesOursAndKeepsWhatHostLocalMadeSince is about a node that went
// back to host-local for a while: its pods of this boot keep their addresses.
func TestRebootFreesOursAndKeepsWhatHostLocalMadeSince(t *testing.T) {
	n := newNode(t)
	n.must(call{ours, "ADD", "ours", "", n.conf(ours, "10.1.0.0/24")})
	n.put("boot_id", "an earlier boot\n") // ours was made in
	n.must(call{theirs, "ADD", "theirs", "", n.conf(theirs, "10.1.0.0/24")})
	same(t, "new", []string{"10.1.0.4"}, n.must(call{ours, "ADD", "new", "", n.conf(ours, "10.1.0.0/24")}).addresses())
	same(t, "held", []string{"10.1.0.3", "10.1.0.4"}, n.reservations())
}

// TestHostLocalMayComeAndGoWhereHoldersAreLinked is about a network of so many
// reservations that our allocator leads from containers to their addresses.
func TestHostLocalMayComeAndGoWhereHoldersAreLinked(t *testing.T) {
	n := newNode(t)
	const subnet = "10.1.0.0/24"
	we, they := n.conf(ours, subnet), n.conf(theirs, subnet)
	for i := range 64 {
		n.put(fmt.Sprintf("10.1.0.%d", 100+i), fmt.Sprintf("other%d\r\neth0", i))
	}
	links := filepath.Join(n.networks, "net", "last_reserved_ip.holders")
	linked := func() bool { _, err := os.Lstat(links); return err == nil }

	first := n.must(call{ours, "ADD", "first", "", we})
	if !linked() {
		t.Fatal("nothing is linked")
	}
	n.must(call{theirs, "CHECK", "first", "", withPrevious(they, first)})
	theirPod := n.must(call{theirs, "ADD", "theirs", "", they})
	same(t, "host-local's", []string{"10.1.0.3"}, theirPod.addresses())
	for _, id := range []string{"first", "theirs", "other7"} {
		if a, err := n.run(call{ours, "ADD", id, "", we}); err == nil {
			t.Errorf("a second ADD of %s gave %v", id, a.addresses())
		}
	}
	n.must(call{ours, "CHECK", "theirs", "", withPrevious(we, theirPod)})
	n.must(call{ours, "DEL", "theirs", "", we})
	n.must(call{theirs, "DEL", "first", "", they})
	for i := range 64 {
		n.must(call{ours, "DEL", fmt.Sprint("other", i), "", we})
	}
	same(t, "at the end", []string(nil), n.reservations())
	same(t, "who comes back", 1, len(n.must(call{ours, "ADD", "first", "", we}).addresses()))
}
