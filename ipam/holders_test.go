package ipam

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// linked is a network with so many reservations that holders are linked.
func linked(t *testing.T) (Config, *Store) {
	t.Helper()
	c := newConfig(t, "10.1.0.0/24", "fd00:1::/120")
	s := Open(c.Dir(), thisBoot)
	for i := range fewestLinked / 2 { // of two families
		allocate(t, s, c, fmt.Sprint("other", i))
	}
	if (holders{s.dir}).areComplete() {
		t.Fatal("few reservations are linked already")
	}
	allocate(t, s, c, "first")
	if !(holders{s.dir}).areComplete() {
		t.Fatal("holders are not linked")
	}
	return c, s
}

func TestHolderIsFoundWithoutReadingTheOthers(t *testing.T) {
	c, s := linked(t)
	// Whoever reads all reservations removes what is torn.
	const torn = "10.1.0.200"
	put(t, c, torn, "")
	given := allocate(t, s, c, "new")
	if _, err := s.Allocate(t.Context(), c, "new", "eth0"); !errors.Is(err, ErrHeld) {
		t.Errorf("a second ADD: %v", err)
	}
	same(t, "released", given, release(t, s, "new"))
	if given := allocate(t, s, c, "new"); len(given) != 2 {
		t.Errorf("after DEL: %q", given)
	}
	if _, err := os.Stat(filepath.Join(c.Dir(), torn)); err != nil {
		t.Errorf("all reservations were read: %v", err)
	}
	same(t, "released by who is not known", []string(nil), release(t, s, "unknown"))
}

func TestHoldersAreLinkedAnewWhenTheyMayBeIncomplete(t *testing.T) {
	for name, damage := range map[string]func(c Config, s *Store) error{
		"host-local gave an address": func(c Config, _ *Store) error {
			put(t, c, "10.1.0.150", "theirs\r\neth0")
			put(t, c, lastNamePrefix+"0", "10.1.0.150")
			return nil
		},
		"an ADD was killed behind its first set": func(c Config, _ *Store) error {
			put(t, c, "10.1.0.150", "theirs\r\neth0")
			put(t, c, lastNamePrefix+"1", "fd00:1::50")
			return nil
		},
		"places are gone":  func(c Config, _ *Store) error { return os.Remove(filepath.Join(c.Dir(), holdersName, placesName)) },
		"links are gone":   func(c Config, _ *Store) error { return os.RemoveAll(filepath.Join(c.Dir(), holdersName)) },
		"a file is there":  func(c Config, s *Store) error { holders{s.dir}.drop(); put(t, c, holdersName, "text"); return nil },
		"the boot is over": func(_ Config, s *Store) error { s.boot = "22222222-2222-2222-2222-222222222222"; return nil },
		"GC": func(_ Config, s *Store) error {
			_, err := s.GC(t.Context(), []Attachment{{"kept", "eth0"}})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			c, s := linked(t)
			kept := allocate(t, s, c, "kept")
			if err := damage(c, s); err != nil {
				t.Fatal(err)
			}
			_, theirs := os.Stat(filepath.Join(c.Dir(), "10.1.0.150"))
			if _, err := s.Allocate(t.Context(), c, "theirs", "eth0"); errors.Is(err, ErrHeld) != (theirs == nil) {
				t.Errorf("ADD of who may hold an address of host-local's: %v", err)
			}
			if s.boot == thisBoot {
				same(t, "released", kept, release(t, s, "kept"))
			}
			release(t, s, "theirs")
			for _, id := range []string{"theirs", "kept"} {
				allocate(t, s, c, id)
				if len(release(t, s, id)) != 2 {
					t.Errorf("%s cannot be released", id)
				}
			}
		})
	}
}

func TestLinksThatLieAreNotBelieved(t *testing.T) {
	c, s := linked(t)
	h := holders{s.dir}
	others := allocate(t, s, c, "victim")
	for _, target := range []string{others[0], others[0] + "," + others[1], "../10.1.0.2", "10.1.0.2,", "rubbish", "10.1.0.254"} {
		if err := h.replace(linkName(Attachment{"liar", "eth0"}), target); err != nil {
			t.Fatal(err)
		}
		same(t, "released by "+target, []string(nil), release(t, s, "liar"))
		if given := allocate(t, s, c, "liar"); len(given) != 2 || slices.Contains(given, others[0]) {
			t.Errorf("%s: given %q", target, given)
		}
		if freed := release(t, s, "liar"); len(freed) != 2 {
			t.Errorf("%s: released %q", target, freed)
		}
	}
	same(t, "released by the victim", others, release(t, s, "victim"))
}

func TestHoldersThatCannotBeLinkedCostNoAddress(t *testing.T) {
	c, s := linked(t)
	// A directory under the name of the link cannot be replaced.
	inTheWay := filepath.Join(c.Dir(), holdersName, linkName(Attachment{"new", "eth0"}), "deep")
	if err := os.MkdirAll(inTheWay, 0o755); err != nil {
		t.Fatal(err)
	}
	given := allocate(t, s, c, "new")
	if (holders{s.dir}).areComplete() {
		t.Error("links without the new one are believed")
	}
	same(t, "released", given, release(t, s, "new"))
}

// TestHoldersAreFoundWhoeverMadeThem plays random sequences of the plugins, of
// host-local and of people.
func TestHoldersAreFoundWhoeverMadeThem(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			c, s := linked(t)
			random := rand.New(rand.NewPCG(seed, 7))
			holds := map[string][]string{}
			for i := range 150 {
				id := fmt.Sprint("c", random.IntN(12))
				trusting := c
				trusting.TrustUnique = random.IntN(2) == 0
				switch held := holds[id]; {
				case held == nil && random.IntN(4) == 0: // host-local
					a := fmt.Sprintf("10.1.0.%d", 100+random.IntN(100))
					if _, err := os.Stat(filepath.Join(c.Dir(), a)); err == nil {
						continue
					}
					put(t, c, a, id+"\r\neth0")
					put(t, c, lastNamePrefix+"0", a)
					holds[id] = []string{a}
				case held == nil:
					holds[id] = allocate(t, s, trusting, id)
				case random.IntN(3) == 0:
					if _, err := s.Allocate(t.Context(), c, id, "eth0"); !errors.Is(err, ErrHeld) {
						t.Fatalf("step %d: a second ADD of %s, which holds %q: %v", i, id, held, err)
					}
				case random.IntN(6) == 0: // host-local, or a person
					for _, a := range held {
						if err := os.Remove(filepath.Join(c.Dir(), a)); err != nil {
							t.Fatal(err)
						}
					}
					delete(holds, id)
				default:
					var hint []netip.Addr
					if random.IntN(2) == 0 {
						for _, a := range held {
							hint = append(hint, addr(a))
						}
					}
					same(t, fmt.Sprintf("step %d: released by %s", i, id), held, release(t, s, id, hint...))
					delete(holds, id)
				}
			}
			for id, held := range holds {
				same(t, "released in the end by "+id, held, release(t, s, id))
			}
		})
	}
}
