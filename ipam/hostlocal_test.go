package ipam

import (
	"errors"
	"net/netip"
	"testing"
)

func TestOldHostLocalReservationsAreReleasedAndChecked(t *testing.T) {
	c := newConfig(t, "10.1.0.0/24")
	s := Open(c.Dir(), thisBoot)
	put(t, c, "10.1.0.9", "abc")
	put(t, c, "10.1.0.10", "abc\r\neth0")
	if err := s.Check(t.Context(), "abc", "eth0", []netip.Addr{addr("10.1.0.9")}); err != nil {
		t.Error(err)
	}
	same(t, "exact first", []string{"10.1.0.10"}, release(t, s, "abc"))
	same(t, "then without interface", []string{"10.1.0.9"}, release(t, s, "abc"))
}

func TestDirectoryOfHostLocalIsAdopted(t *testing.T) {
	c := newConfig(t, "10.1.0.0/24")
	put(t, c, "10.1.0.2", "abc\r\neth0")
	put(t, c, "last_reserved_ip.0", "10.1.0.2")
	s := Open(c.Dir(), thisBoot)
	same(t, "next", []string{"10.1.0.3"}, allocate(t, s, c, "more"))
	same(t, "files", []string{"10.1.0.2", "10.1.0.3"}, ls(t, c))
	same(t, "DEL", []string{"10.1.0.2"}, release(t, s, "abc"))
}

func TestWhatHostLocalWroteSinceOutlivesTheBootOfOurs(t *testing.T) {
	c := newConfig(t, "10.1.0.0/24")
	allocate(t, Open(c.Dir(), "another boot"), c, "ours")
	put(t, c, "10.1.0.9", "theirs\r\neth0")
	put(t, c, "10.1.0.10", "")
	now := Open(c.Dir(), thisBoot)

	same(t, "listed", []Reservation{{addr("10.1.0.9"), Attachment{"theirs", "eth0"}}}, listed(t, now))
	usage, err := now.Usage(t.Context(), c)
	if err != nil || usage[0].Used != 1 {
		t.Errorf("usage %v, %v", usage, err)
	}
	if err := now.Check(t.Context(), "theirs", "eth0", nil); err != nil {
		t.Error(err)
	}
	for _, addrs := range [][]netip.Addr{nil, {addr("10.1.0.2")}} {
		if err := now.Check(t.Context(), "ours", "eth0", addrs); !errors.Is(err, ErrMissing) {
			t.Errorf("CHECK of %v gives %v", addrs, err)
		}
	}
	allocate(t, now, c, "more")
	same(t, "files", []string{"10.1.0.3", "10.1.0.9"}, ls(t, c))
	allocate(t, Open(c.Dir(), "the boot after"), c, "later")
	same(t, "after the next boot", []string{"10.1.0.4"}, ls(t, c))
}

func listed(t testing.TB, s *Store) []Reservation {
	t.Helper()
	list, err := s.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return list
}
