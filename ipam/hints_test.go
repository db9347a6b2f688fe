package ipam

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// crowded has one free address, which is the last that the set comes to.
func crowded(t testing.TB) (Config, *Store) {
	t.Helper()
	c := newConfig(t, "10.1.0.0/24")
	c.TrustUnique = true
	for _, a := range runOf(addr("10.1.0.2"), 253) {
		if a != addr("10.1.0.100") {
			put(t, c, a.String(), "x\r\neth0")
		}
	}
	put(t, c, lastNamePrefix+"0", "10.1.0.100")
	return c, Open(c.Dir(), "")
}

func TestNearlyFullSetGivesWhatBecameFreeTheOldestFirst(t *testing.T) {
	c, s := crowded(t)
	same(t, "the last one", []string{"10.1.0.100"}, allocate(t, s, c, "a"))
	for _, a := range []string{"10.1.0.60", "10.1.0.50", "10.1.0.70"} {
		if err := os.Remove(filepath.Join(c.Dir(), a)); err != nil { // not by us: no hint
			t.Fatal(err)
		}
		put(t, c, a, strings.ReplaceAll(a, ".", "-")+"\r\neth0")
		release(t, s, strings.ReplaceAll(a, ".", "-"), addr(a))
	}
	put(t, c, "10.1.0.50", "hostlocal\r\neth0")
	same(t, "the oldest", []string{"10.1.0.60"}, allocate(t, s, c, "b"))
	same(t, "not one that was taken meanwhile", []string{"10.1.0.70"}, allocate(t, s, c, "d"))
	if _, err := s.Allocate(t.Context(), c, "e", "eth0"); err == nil {
		t.Error("a full set gave an address")
	}
}

// TestHintsAreOnlyHints puts everything into the list that it cannot hold, and
// takes it away.
func TestHintsAreOnlyHints(t *testing.T) {
	for name, list := range map[string]string{
		"rubbish":     "\x00\xff\n10.1.0.\n\n fd00::1\n",
		"another set": "10.9.0.1\nfd00::1\n",
		"taken":       "10.1.0.7\n10.1.0.8\n",
		"gateway":     "10.1.0.1\n",
		"unfinished":  "10.1.0.10",
		"too long":    strings.Repeat("10.1.0.1\n", mostHintBytes),
		"empty":       "",
	} {
		t.Run(name, func(t *testing.T) {
			c, s := crowded(t)
			put(t, c, hintName, list)
			same(t, "given", []string{"10.1.0.100"}, allocate(t, s, c, "a"))
		})
	}
}

func TestListOfHintsDoesNotGrowForEver(t *testing.T) {
	c, s := crowded(t)
	allocate(t, s, c, "a")
	put(t, c, hintName, strings.Repeat("10.1.0.7\n", mostHintBytes/9))
	release(t, s, "a", addr("10.1.0.100"))
	if _, err := os.Stat(filepath.Join(c.Dir(), hintName)); !os.IsNotExist(err) {
		t.Errorf("the list is still there: %v", err)
	}
	same(t, "given", []string{"10.1.0.100"}, allocate(t, s, c, "b"))
}

func TestReadySeesOneFreeAddressWhereverItIs(t *testing.T) {
	c, s := crowded(t)
	if err := s.Ready(t.Context(), c); err != nil {
		t.Error(err)
	}
	allocate(t, s, c, "a")
	if err := s.Ready(t.Context(), c); err == nil {
		t.Error("a full set is ready")
	}
}

func FuzzParseHints(f *testing.F) {
	for _, seed := range []string{"10.1.0.2\nfd00::1\n", "10.1.0.2", "\n\n", "\x00\n", "10.1.0.2\r\n"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, a := range parseHints(b) {
			if !a.IsValid() || a.Zone() != "" || !strings.Contains(string(b), a.String()+"\n") {
				t.Errorf("%q yields %v", b, a)
			}
		}
	})
}
