package statedir

import (
	"regexp"
	"testing"
)

func FuzzNamesAreThoseOfTheSpecification(f *testing.F) {
	for _, s := range []string{"", "a", "A9", "-a", ".", "..", "_", "a_b.c-d", "a/b", "ä", "a\n", "a b", "\x00", "9"} {
		f.Add(s)
	}
	pattern := regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.\-]*\z`)
	f.Fuzz(func(t *testing.T, s string) {
		if got, want := IsName(s), pattern.MatchString(s); got != want {
			t.Errorf("%q: %v, want %v", s, got, want)
		}
	})
}
