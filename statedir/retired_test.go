package statedir

import (
	"net"
	"strings"
	"testing"
)

func TestLinksAreHandedOverOnlyToWhoListensInTheSameNamespace(t *testing.T) {
	const here, elsewhere = 1, 2
	dir := Dir(t.TempDir())
	if dir.HandOver(here) {
		t.Error("handed over to nobody")
	}
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: dir.RetiredSocket(here), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	if dir.HandOver(elsewhere) {
		t.Error("handed over to a daemon of another namespace")
	}
	for i := range 1000 { // nobody reads: what is unread tells enough
		if !dir.HandOver(here) {
			t.Fatalf("notice %d: not handed over", i)
		}
	}
	if got := dir.RetiredSockets(); len(got) != 1 || got[0] != dir.RetiredSocket(here) {
		t.Errorf("sockets %q", got)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if dir.HandOver(here) || len(dir.RetiredSockets()) != 1 {
		t.Error("handed over to a socket that a dead daemon left")
	}
}

func TestLinksAreHandedOverToAbsolutePathsAlone(t *testing.T) {
	for _, dir := range []Dir{"", ".", "relative", Dir("/" + strings.Repeat("x", 200))} {
		if dir.HandOver(1) {
			t.Errorf("%q: handed over", dir)
		}
	}
}
