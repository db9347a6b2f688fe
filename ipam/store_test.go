package ipam

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ropeway-net/ropeway/statedir"
)

const thisBoot = "11111111-1111-1111-1111-111111111111"

// newConfig has a range set for each subnet, in a directory of the test's own.
func newConfig(t testing.TB, subnets ...string) Config {
	t.Helper()
	c := Config{Network: "net", DataDir: t.TempDir()}
	for _, s := range subnets {
		r, err := newRange(prefix(s), netip.Addr{}, netip.Addr{}, netip.Addr{})
		if err != nil {
			t.Fatal(err)
		}
		c.RangeSets = append(c.RangeSets, RangeSet{r})
	}
	return c
}

func allocate(t testing.TB, s *Store, c Config, id string) []string {
	t.Helper()
	given, err := s.Allocate(t.Context(), c, id, "eth0")
	if err != nil {
		t.Fatal(err)
	}
	var addrs []string
	for _, g := range given {
		addrs = append(addrs, g.Address.Addr().String())
	}
	return addrs
}

func release(t testing.TB, s *Store, id string, hint ...netip.Addr) []string {
	t.Helper()
	freed, err := s.Release(t.Context(), id, "eth0", hint...)
	if err != nil {
		t.Fatal(err)
	}
	var addrs []string
	for _, a := range freed {
		addrs = append(addrs, a.String())
	}
	return addrs
}

// put writes a file into the network's directory as somebody else would.
func put(t testing.TB, c Config, name, content string) {
	t.Helper()
	if err := os.MkdirAll(c.Dir(), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(c.Dir(), name), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// ls is the directory without the files that always are there.
func ls(t testing.TB, c Config) []string {
	t.Helper()
	entries, err := os.ReadDir(c.Dir())
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		if name := e.Name(); name != lockName && name != bootName && !strings.HasPrefix(name, lastNamePrefix) {
			names = append(names, name)
		}
	}
	return names
}

func same(t testing.TB, what string, want, got any) {
	t.Helper()
	if diff := cmp.Diff(want, got, compareNetip); diff != "" {
		t.Errorf("%s: -want +got:\n%s", what, diff)
	}
}

func TestAllocateGivesBothFamiliesAndWritesHostLocalsLayout(t *testing.T) {
	c := newConfig(t, "10.1.0.0/24", "fd00:1::/64")
	s := Open(c.Dir(), thisBoot)
	given, err := s.Allocate(t.Context(), c, "abc", "eth0")
	if err != nil {
		t.Fatal(err)
	}
	same(t, "allocations", []Allocation{
		{prefix("10.1.0.2/24"), addr("10.1.0.1")},
		{prefix("fd00:1::2/64"), addr("fd00:1::1")},
	}, given)
	same(t, "files", []string{"10.1.0.2", "fd00:1::2"}, ls(t, c))
	for name, want := range map[string]string{
		"10.1.0.2": "abc\r\neth0", "fd00:1::2": "abc\r\neth0",
		"last_reserved_ip.0": "10.1.0.2", "last_reserved_ip.1": "fd00:1::2",
		"boot_id": thisBoot + "\n",
	} {
		b, err := os.ReadFile(filepath.Join(c.Dir(), name))
		if err != nil {
			t.Fatal(err)
		}
		same(t, name, want, string(b))
		info, err := os.Stat(filepath.Join(c.Dir(), name))
		if err != nil {
			t.Fatal(err)
		}
		mode := os.FileMode(0o600)
		if _, ok := parseAddressName(name); ok {
			mode = ownMode
		}
		same(t, "mode of "+name, mode, info.Mode())
	}
}

func TestFreedAddressRestsUntilTheRangeWrapsRound(t *testing.T) {
	c := newConfig(t, "10.1.0.0/29") // .2 to .6
	s := Open(c.Dir(), thisBoot)
	var got []string
	for i := range 8 {
		id := fmt.Sprint("c", i)
		got = append(got, allocate(t, s, c, id)...)
		release(t, s, id)
	}
	same(t, "order", []string{"10.1.0.2", "10.1.0.3", "10.1.0.4", "10.1.0.5", "10.1.0.6", "10.1.0.2", "10.1.0.3", "10.1.0.4"}, got)
}

func TestSetOfSeveralRangesIsUsedUpBeforeItIsFull(t *testing.T) {
	c := newConfig(t, "10.1.0.0/30", "10.2.0.0/29")
	c.RangeSets = []RangeSet{slices.Concat(c.RangeSets...)}
	s := Open(c.Dir(), thisBoot)
	var got []string
	for i := range 6 {
		got = append(got, allocate(t, s, c, fmt.Sprint("c", i))...)
	}
	same(t, "addresses", []string{"10.1.0.2", "10.2.0.2", "10.2.0.3", "10.2.0.4", "10.2.0.5", "10.2.0.6"}, got)
	if _, err := s.Allocate(t.Context(), c, "more", "eth0"); !errors.Is(err, ErrFull) {
		t.Errorf("a full set gives %v", err)
	}
}

func TestFullRangeGivesNothingOfEitherFamily(t *testing.T) {
	c := newConfig(t, "fd00:1::/64", "10.1.0.0/30")
	s := Open(c.Dir(), thisBoot)
	allocate(t, s, c, "abc")
	before := ls(t, c)
	_, err := s.Allocate(t.Context(), c, "more", "eth0")
	if !errors.Is(err, ErrFull) || CNIError(err).Code != CodeFull {
		t.Fatalf("full range gives %v", err)
	}
	same(t, "text", "allocate address for container more: 10.1.0.0/30 is full (1 of 1 in use); delete pods or widen the range; see: ropewayctl ipam ls", err.Error())
	same(t, "files", before, ls(t, c))
	release(t, s, "abc")
	same(t, "after a DEL", []string{"fd00:1::3", "10.1.0.2"}, allocate(t, s, c, "more"))
}

func TestGatewayOfAnyRangeIsNeverGiven(t *testing.T) {
	c := newConfig(t, "10.1.0.0/30", "10.2.0.0/29")
	c.RangeSets[0][0].Gateway = addr("10.2.0.3")
	s := Open(c.Dir(), thisBoot)
	same(t, "first", []string{"10.1.0.1", "10.2.0.2"}, allocate(t, s, c, "a"))
	same(t, "second", []string{"10.1.0.2", "10.2.0.4"}, allocate(t, s, c, "b"))
}

func TestNearlyFullRangeAndHugeRangeAreFoundWithoutProbing(t *testing.T) {
	c := newConfig(t, "10.1.0.0/16", "fd00:1::/64")
	for i := 2; i < 300; i++ {
		put(t, c, fmt.Sprintf("10.1.%d.%d", i/256, i%256), "x\r\neth0")
		put(t, c, fmt.Sprintf("fd00:1::%x", i), "x\r\neth0")
	}
	put(t, c, "last_reserved_ip.1", "fd00:1::ffff:ffff:ffff:ffff")
	c.TrustUnique = true
	s := Open(c.Dir(), "")
	same(t, "addresses", []string{"10.1.1.44", "fd00:1::12c"}, allocate(t, s, c, "a"))
}

func TestRequestedAddressIsGivenAndNamesItsHolder(t *testing.T) {
	c := newConfig(t, "10.1.0.0/24", "fd00:1::/64")
	s := Open(c.Dir(), thisBoot)
	c.Requested = []netip.Addr{addr("10.1.0.77")}
	same(t, "first", []string{"10.1.0.77", "fd00:1::2"}, allocate(t, s, c, "abc"))
	_, err := s.Allocate(t.Context(), c, "more", "eth0")
	if !errors.Is(err, ErrTaken) || CNIError(err).Code != CodeTaken || !strings.Contains(err.Error(), "10.1.0.77 is held by container abc (eth0)") {
		t.Errorf("taken address gives %v", err)
	}
	same(t, "files", []string{"10.1.0.77", "fd00:1::2"}, ls(t, c))
	c.Requested = nil
	same(t, "the queue has not moved", []string{"10.1.0.2", "fd00:1::3"}, allocate(t, s, c, "more"))
}

func TestSecondAllocationIsRefusedWithTheAddressHeld(t *testing.T) {
	c := newConfig(t, "10.1.0.0/24")
	s := Open(c.Dir(), thisBoot)
	allocate(t, s, c, "abc")
	_, err := s.Allocate(t.Context(), c, "abc", "eth0")
	if !errors.Is(err, ErrHeld) || CNIError(err).Code != CodeHeld || !strings.Contains(err.Error(), "10.1.0.2") {
		t.Errorf("second allocation gives %v", err)
	}
	if _, err := s.Allocate(t.Context(), c, "abc", "eth1"); err != nil {
		t.Errorf("another interface of the container gives %v", err)
	}
	same(t, "files", []string{"10.1.0.2", "10.1.0.3"}, ls(t, c))
}

func TestReleaseIsIdempotentAndLeavesOthersAlone(t *testing.T) {
	c := newConfig(t, "10.1.0.0/24", "fd00:1::/64")
	s := Open(c.Dir(), thisBoot)
	same(t, "no directory yet", []string(nil), release(t, s, "abc"))
	if _, err := os.Stat(c.Dir()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("DEL made a directory: %v", err)
	}
	allocate(t, s, c, "abc")
	allocate(t, s, c, "other")
	same(t, "hint of another's address", []string(nil), release(t, s, "abc", addr("10.1.0.3"), addr("10.1.0.200")))
	same(t, "hint", []string{"10.1.0.2"}, release(t, s, "abc", addr("10.1.0.2")))
	same(t, "scan", []string{"fd00:1::2"}, release(t, s, "abc"))
	same(t, "again", []string(nil), release(t, s, "abc"))
	same(t, "files", []string{"10.1.0.3", "fd00:1::3"}, ls(t, c))
}

func TestCrashLeftoversFreeThemselves(t *testing.T) {
	leave := func(c Config) {
		put(t, c, "10.1.0.2", "")
		put(t, c, "10.1.0.3", "\x00\x00\x00\x00")
		put(t, c, statedir.TempPrefix+"123", "abc\r\neth0")
		put(t, c, "last_reserved_ip.0", "\x00rubbish")
	}
	t.Run("when every reservation is read", func(t *testing.T) {
		c := newConfig(t, "10.1.0.0/29")
		leave(c)
		same(t, "first", []string{"10.1.0.2"}, allocate(t, Open(c.Dir(), ""), c, "a"))
		same(t, "files", []string{"10.1.0.2"}, ls(t, c))
	})
	t.Run("when the range is full otherwise", func(t *testing.T) {
		c := newConfig(t, "10.1.0.0/29")
		leave(c)
		c.TrustUnique = true
		s := Open(c.Dir(), "")
		var got []string
		for i := range 5 {
			got = append(got, allocate(t, s, c, fmt.Sprint("c", i))...)
		}
		slices.Sort(got)
		same(t, "addresses", []string{"10.1.0.2", "10.1.0.3", "10.1.0.4", "10.1.0.5", "10.1.0.6"}, got)
		if _, err := s.Allocate(t.Context(), c, "more", "eth0"); !errors.Is(err, ErrFull) {
			t.Errorf("then %v", err)
		}
	})
	t.Run("when the address is asked for", func(t *testing.T) {
		c := newConfig(t, "10.1.0.0/29")
		leave(c)
		c.TrustUnique = true
		c.Requested = []netip.Addr{addr("10.1.0.3")}
		same(t, "address", []string{"10.1.0.3"}, allocate(t, Open(c.Dir(), ""), c, "a"))
	})
	t.Run("by GC", func(t *testing.T) {
		c := newConfig(t, "10.1.0.0/29")
		leave(c)
		removed, err := Open(c.Dir(), "").GC(t.Context(), nil)
		if err != nil || len(removed) != 0 {
			t.Errorf("removed %v, %v", removed, err)
		}
		same(t, "files", []string(nil), ls(t, c))
	})
	t.Run("for the eyes of Usage", func(t *testing.T) {
		c := newConfig(t, "10.1.0.0/29")
		leave(c)
		for _, a := range []string{"10.1.0.4", "10.1.0.5", "10.1.0.6"} {
			put(t, c, a, "x\r\neth0")
		}
		usage, err := Open(c.Dir(), "").Usage(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		same(t, "usage", []Usage{{c.RangeSets[0], 3, 5}}, usage)
	})
	t.Run("and missing files are no loss", func(t *testing.T) {
		c := newConfig(t, "10.1.0.0/29")
		s := Open(c.Dir(), thisBoot)
		allocate(t, s, c, "a")
		for _, name := range []string{"last_reserved_ip.0", lockName, bootName} {
			if err := os.Remove(filepath.Join(c.Dir(), name)); err != nil {
				t.Fatal(err)
			}
		}
		same(t, "address", []string{"10.1.0.3"}, allocate(t, s, c, "b"))
	})
}

func TestPublishLeavesNothingWhenItFailsHalfway(t *testing.T) {
	c := newConfig(t)
	put(t, c, "fd00::5", "other\r\neth0")
	err := directory(c.Dir()).publish(Attachment{"abc", "eth0"}, []netip.Addr{addr("10.1.0.5"), addr("fd00::5"), addr("10.1.0.6")})
	if !errors.Is(err, os.ErrExist) || CNIError(err).Code != 5 {
		t.Errorf("error %v", err)
	}
	same(t, "files", []string{"fd00::5"}, ls(t, c))
	if b, err := os.ReadFile(filepath.Join(c.Dir(), "fd00::5")); err != nil || string(b) != "other\r\neth0" {
		t.Errorf("the other's reservation holds %q, %v", b, err)
	}
}

func TestReservationsOfAnotherBootAreStale(t *testing.T) {
	c := newConfig(t, "10.1.0.0/24")
	old, now := Open(c.Dir(), "another boot"), Open(c.Dir(), thisBoot)
	allocate(t, old, c, "abc")
	put(t, c, "10.1.0.9", "")
	put(t, c, statedir.TempPrefix+"1", "")

	list, err := now.List(t.Context())
	if err != nil || len(list) != 0 {
		t.Errorf("listed %v, %v", list, err)
	}
	if err = now.Check(t.Context(), "abc", "eth0", []netip.Addr{addr("10.1.0.2")}); !errors.Is(err, ErrMissing) {
		t.Errorf("CHECK gives %v", err)
	}
	usage, err := now.Usage(t.Context(), c)
	if err != nil || usage[0].Used != 0 {
		t.Errorf("usage %v, %v", usage, err)
	}
	same(t, "reading changes nothing", []string{".tmp-1", "10.1.0.2", "10.1.0.9"}, ls(t, c))

	same(t, "the same container again, and the address rests", []string{"10.1.0.3"}, allocate(t, now, c, "abc"))
	same(t, "files", []string{"10.1.0.3"}, ls(t, c))
	same(t, "within the boot it stays", []string{"10.1.0.4"}, allocate(t, now, c, "more"))
}

func TestGCKeepsWhatIsListed(t *testing.T) {
	c := newConfig(t, "10.1.0.0/24", "fd00:1::/64")
	s := Open(c.Dir(), thisBoot)
	if removed, err := s.GC(t.Context(), nil); err != nil || removed != nil {
		t.Errorf("no directory yet: %v, %v", removed, err)
	}
	for _, id := range []string{"a", "b", "c"} {
		allocate(t, s, c, id)
	}
	put(t, c, "10.1.0.50", "b")
	put(t, c, "10.1.0.51", "gone")
	removed, err := s.GC(t.Context(), []Attachment{{"b", "eth0"}, {"c", "eth1"}})
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(removed, func(a, b Reservation) int { return a.Address.Compare(b.Address) })
	same(t, "removed", []Reservation{
		{addr("10.1.0.2"), Attachment{"a", "eth0"}}, {addr("10.1.0.4"), Attachment{"c", "eth0"}},
		{addr("10.1.0.51"), Attachment{"gone", ""}},
		{addr("fd00:1::2"), Attachment{"a", "eth0"}}, {addr("fd00:1::4"), Attachment{"c", "eth0"}},
	}, removed)
	same(t, "files", []string{"10.1.0.3", "10.1.0.50", "fd00:1::3"}, ls(t, c))
}

func TestCheckSaysWhichAddressIsMissing(t *testing.T) {
	c := newConfig(t, "10.1.0.0/24", "fd00:1::/64")
	s := Open(c.Dir(), thisBoot)
	if err := s.Check(t.Context(), "a", "eth0", nil); !errors.Is(err, ErrMissing) {
		t.Errorf("no directory yet: %v", err)
	}
	allocate(t, s, c, "a")
	allocate(t, s, c, "b")
	for _, test := range []struct {
		name  string
		addrs []netip.Addr
		say   string
	}{
		{"both", []netip.Addr{addr("10.1.0.2"), addr("fd00:1::2")}, ""},
		{"anything", nil, ""},
		{"free", []netip.Addr{addr("10.1.0.2"), addr("fd00:1::99")}, "fd00:1::99"},
		{"another's", []netip.Addr{addr("10.1.0.3")}, "reserved for container b"},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := s.Check(t.Context(), "a", "eth0", test.addrs)
			if test.say == "" && err != nil {
				t.Error(err)
			}
			if test.say != "" && (!errors.Is(err, ErrMissing) || CNIError(err).Code != CodeMissing || !strings.Contains(err.Error(), test.say)) {
				t.Errorf("error %v", err)
			}
		})
	}
	if err := s.Check(t.Context(), "nobody", "eth0", nil); !errors.Is(err, ErrMissing) {
		t.Errorf("container without reservation: %v", err)
	}
}

func TestUsageCountsEachSet(t *testing.T) {
	c := newConfig(t, "10.1.0.0/30", "fd00:1::/64")
	s := Open(c.Dir(), thisBoot)
	usage, err := s.Usage(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "at first", []Usage{{c.RangeSets[0], 0, 1}, {c.RangeSets[1], 0, ^uint64(0)}}, usage)
	allocate(t, s, c, "a")
	put(t, c, "10.1.0.1", "gateway\r\neth0")
	put(t, c, "10.9.0.1", "elsewhere\r\neth0")
	usage, err = s.Usage(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "then", []Usage{{c.RangeSets[0], 1, 1}, {c.RangeSets[1], 1, ^uint64(0)}}, usage)
	if !usage[0].Full() || usage[1].Full() {
		t.Errorf("full: %v", usage)
	}
}

func TestLockHeldByAnotherEndsAtTheDeadline(t *testing.T) {
	c := newConfig(t, "10.1.0.0/24")
	s := Open(c.Dir(), thisBoot)
	allocate(t, s, c, "a")
	held, err := lock(t.Context(), c.Dir())
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	_, err = s.Allocate(ctx, c, "b", "eth0")
	if !errors.Is(err, ErrLocked) || CNIError(err).Code != 11 || !strings.Contains(err.Error(), "fuser -v "+filepath.Join(c.Dir(), lockName)) {
		t.Errorf("locked directory gives %v", err)
	}
	if _, err := s.Release(ctx, "a", "eth0"); !errors.Is(err, ErrLocked) {
		t.Errorf("DEL of a locked directory gives %v", err)
	}
	if list, err := s.List(t.Context()); err != nil || len(list) != 1 {
		t.Errorf("reading needs no lock, but gives %v, %v", list, err)
	}
	if err := held.Close(); err != nil {
		t.Fatal(err)
	}
	same(t, "afterwards", []string{"10.1.0.3"}, allocate(t, s, c, "b"))
}

func TestLockOfARemovedDirectoryIsWorthNothing(t *testing.T) {
	c := newConfig(t, "10.1.0.0/24")
	put(t, c, lockName, "")
	f, err := os.Open(filepath.Join(c.Dir(), lockName))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := os.Remove(f.Name()); err != nil {
		t.Fatal(err)
	}
	put(t, c, lockName, "")
	if err := stillNamed(f, f.Name()); err == nil {
		t.Error("a file that was replaced passes for the lock")
	}
}

func TestReleaseWithoutAHintClearsWhatWasHalfWritten(t *testing.T) {
	c := newConfig(t, "10.1.0.0/24")
	s := Open(c.Dir(), thisBoot)
	allocate(t, s, c, "a")
	half := s.dir.path(statedir.TempPrefix + "123")
	if err := os.WriteFile(half, []byte("killed"), 0o600); err != nil {
		t.Fatal(err)
	}
	release(t, s, "killed")
	if _, err := os.Stat(half); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is still there: %v", half, err)
	}
	same(t, "files", []string{"10.1.0.2"}, ls(t, c))
}
