package main

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func newTestNode(t *testing.T) *node {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("namespaces need root; run the test as root")
	}
	n, err := newNode()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.close(); err != nil {
			t.Error(err)
		}
	})
	return n
}

func TestProgramRunsInItsNodeAlone(t *testing.T) {
	n := newTestNode(t)
	links, err := n.links()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"cable", "eth0"}, links); diff != "" {
		t.Errorf("links of a new node (-want +got):\n%s", diff)
	}
	done, err := n.exec(t.Context(), process{path: "/bin/sh", stdin: []byte("readlink /proc/self/ns/net /proc/self/ns/mnt; ls -A /run; touch /run/lock.of.a.bench")})
	if err != nil {
		t.Fatal(err)
	}
	var own []string
	for _, kind := range []string{"net", "mnt"} {
		id, err := os.Readlink("/proc/thread-self/ns/" + kind)
		if err != nil {
			t.Fatal(err)
		}
		own = append(own, id)
	}
	inside := strings.Fields(string(done.stdout))
	if len(inside) != 2 || inside[0] == own[0] || inside[1] == own[1] {
		t.Errorf("the program saw %q; the test is in %q", inside, own)
	}
	if want, err := os.Readlink(n.path()); err != nil || inside[0] != want {
		t.Errorf("the program ran in %s, want %s, %v", inside[0], want, err)
	}
	if _, err := os.Stat("/run/lock.of.a.bench"); err == nil {
		t.Error("the node's /run is the machine's")
	}
}

func TestFailingProgramShowsWhatItSaid(t *testing.T) {
	_, err := execute(t.Context(), process{path: "/bin/sh", stdin: []byte("echo code 7; echo why >&2; exit 1")})
	if err == nil || !strings.Contains(err.Error(), "code 7") || !strings.Contains(err.Error(), "why") {
		t.Errorf("error %v", err)
	}
}
