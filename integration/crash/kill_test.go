package crash

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/containernetworking/cni/pkg/types"
	"github.com/google/go-cmp/cmp"

	"github.com/ropeway-net/ropeway/integration/lab"
)

// every says whether to try all points instead of a sample of them.
func every() bool { return os.Getenv("ROPEWAY_CRASH") == "every" }

// sampled is how many points of each series a sample has.
const sampled = 4

// series are what may follow a kill. Each ends with nothing left of the victim.
func series() map[string]func(*killed) {
	return map[string]func(*killed){
		"DEL":            (*killed).del,
		"GC":             (*killed).gc,
		"ADD again":      (*killed).addAgain,
		"ADD of another": (*killed).addAnother,
	}
}

func TestAddKilledAtAnySystemCallLeavesNothing(t *testing.T) {
	killSeries(t, "ADD")
}

func TestDelKilledAtAnySystemCallCanBeRepeatedOrCollected(t *testing.T) {
	killSeries(t, "DEL")
}

func TestStatusKilledAtAnySystemCallLeavesNothingForTheNext(t *testing.T) {
	k := newKilled(t, "STATUS", []string{"10.99.0.0/29", "fd99::/125"})
	points := k.everyPoint(func(k *killed) {
		if err := k.node.Status(t.Context()); err != nil {
			t.Error(err)
		}
	})
	t.Logf("STATUS: %d kills, %d times with something left", points, k.left)
}

func killSeries(t *testing.T, verb string) {
	var total atomic.Int64
	for families, podCIDRs := range map[string][]string{
		"single stack": {"10.99.0.0/29"},
		"dual stack":   {"10.99.0.0/29", "fd99::/125"},
	} {
		for then, recover := range series() {
			t.Run(families+", then "+then, func(t *testing.T) {
				t.Parallel()
				k := newKilled(t, verb, podCIDRs)
				points := k.everyPoint(recover)
				t.Logf("%s killed at %d system calls of %d kinds, %d times with something left", verb, points, len(k.kinds), k.left)
				if k.left == 0 && points > 1 {
					t.Error("no kill left anything: this proves nothing")
				}
				total.Add(int64(points))
			})
		}
	}
	t.Cleanup(func() { t.Logf("%s: %d kills", verb, total.Load()) })
}

// killed is a node on which a verb of one attachment, the victim, is killed
// while another one lives.
type killed struct {
	t                       *testing.T
	node                    *Node
	verb                    string
	victim, living, another Attachment
	result                  []byte   // of the living
	before                  []string // traces of the living alone
	held                    []string // addresses of the living
	kinds                   map[uint64]bool
	left                    int // kills that left something to recover from
}

func newKilled(t *testing.T, verb string, podCIDRs []string) *killed {
	t.Helper()
	k := &killed{t: t, verb: verb, node: newNode(t, podCIDRs), kinds: map[uint64]bool{}}
	k.victim = Attachment{ID: "victim", Netns: newNamespace(t).Path, HostPort: 8080}
	k.living = Attachment{ID: "living", Netns: newNamespace(t).Path, HostPort: 8081}
	k.another = Attachment{ID: "another", Netns: newNamespace(t).Path, HostPort: 8082}
	k.result, k.held = k.add(k.living)
	k.before = k.traces()
	return k
}

func newNamespace(t *testing.T) *Namespace {
	t.Helper()
	ns, err := NewNamespace(filepath.Join(t.TempDir(), "netns"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := ns.Close(); err != nil {
			t.Error(err)
		}
	})
	return ns
}

func newNode(t *testing.T, podCIDRs []string) *Node {
	t.Helper()
	bin, err := lab.FindBinaries("")
	if err != nil {
		t.Fatal(err)
	}
	return &Node{Netns: newNamespace(t), Dir: t.TempDir(), Plugin: filepath.Join(bin, "ropeway"), PodCIDRs: podCIDRs}
}

// everyPoint kills the verb at one system call after the other, or at a sample
// of them, until it comes to its end. It returns how many there were.
func (k *killed) everyPoint(recover func(*killed)) (points int) {
	if at, err := strconv.Atoi(os.Getenv("ROPEWAY_CRASH_AT")); err == nil {
		k.point(at, recover)
		return 1
	}
	if !every() {
		length := k.length()
		for i := range sampled {
			// One in each part of the verb, so that none is left out for long.
			k.point(length*i/sampled+rand.IntN(length/sampled+1), recover)
		}
		return sampled
	}
	// Threads make a run a few calls longer or shorter than another.
	for ended := 0; ended < 3 && !k.t.Failed(); points++ {
		if !k.point(points, recover) {
			ended++
		}
	}
	return points - 3
}

// length is how many system calls the verb makes that are not the process's own.
func (k *killed) length() (calls int) {
	k.point(-1, func(k *killed) { k.del() })
	k.prepare()
	k.trace(func(c Call) bool {
		if !c.Own {
			calls++
		}
		return false
	})
	k.del()
	return calls
}

// point kills the verb before its call number at and recovers; false if the
// verb ended before.
func (k *killed) point(at int, recover func(*killed)) (was bool) {
	k.t.Helper()
	k.prepare()
	n, last := 0, Call{}
	was = k.trace(func(c Call) bool {
		if c.Own && !every() {
			return false
		}
		n, last = n+1, c
		return n-1 == at
	})
	if was {
		k.kinds[last.Number] = true
		if !slices.Equal(k.before, k.traces()) {
			k.left++
		}
	}
	recover(k)
	k.wantOnlyTheLiving()
	if k.t.Failed() {
		k.t.Fatalf("after %s was killed before its system call %d, which has number %d", k.verb, at, last.Number)
	}
	return was
}

func (k *killed) prepare() {
	if k.verb == "DEL" {
		k.add(k.victim)
	}
}

func (k *killed) trace(kill func(Call) bool) (was bool) {
	k.t.Helper()
	stdin, err := os.CreateTemp(k.t.TempDir(), "stdin")
	if err != nil {
		k.t.Fatal(err)
	}
	defer stdin.Close()
	if _, err = stdin.Write(k.node.conf(k.victim, nil)); err != nil {
		k.t.Fatal(err)
	}
	if _, err = stdin.Seek(0, 0); err != nil {
		k.t.Fatal(err)
	}
	// With one processor the calls of a run come in nearly the same order.
	env := append(k.node.env(k.verb, k.victim), "GOMAXPROCS=1")
	if k.verb == "STATUS" {
		env = append(k.node.env(k.verb, Attachment{}), "GOMAXPROCS=1")
	}
	p := Program{Path: k.node.Plugin, Env: env, Stdin: stdin}
	err = k.node.Netns.Do(func() (err error) {
		was, err = Trace(p, kill)
		return err
	})
	if err != nil {
		k.t.Fatal(err)
	}
	return was
}

func (k *killed) add(a Attachment) (result []byte, addresses []string) {
	k.t.Helper()
	result, addresses, err := k.node.Add(k.t.Context(), a)
	if err != nil {
		k.t.Fatal(err)
	}
	return result, addresses
}

func (k *killed) must(verb func(context.Context, Attachment) error, a Attachment) {
	k.t.Helper()
	if err := verb(k.t.Context(), a); err != nil {
		k.t.Error(err)
	}
}

func (k *killed) del() {
	k.must(k.node.Del, k.victim)
}

func (k *killed) gc() {
	if err := k.node.GC(k.t.Context(), k.living); err != nil {
		k.t.Error(err)
	}
}

// addAgain is what a runtime does that lost its memory. The interface may be
// there, and then has to be taken away first, as the specification demands.
func (k *killed) addAgain() {
	result, addresses, err := k.node.Add(k.t.Context(), k.victim)
	var said *types.Error
	switch {
	case err == nil:
		k.wantApart(addresses, k.held)
		if err = k.node.Check(k.t.Context(), k.victim, result); err != nil {
			k.t.Error(err)
		}
	case !errors.As(err, &said) || !bytes.Contains([]byte(said.Msg+said.Details), []byte("DEL")):
		k.t.Errorf("not refused because the interface is there: %v", err)
	}
	k.del()
}

// addAnother attaches others, as many as there are addresses for.
func (k *killed) addAnother() {
	_, addresses := k.add(k.another)
	k.wantApart(addresses, k.held)
	if err := k.node.Status(k.t.Context()); err != nil {
		k.t.Error(err)
	}
	k.del()
	k.must(k.node.Del, k.another)
}

func (k *killed) wantApart(addresses, others []string) {
	k.t.Helper()
	if len(addresses) != len(k.node.PodCIDRs) {
		k.t.Errorf("given %v", addresses)
	}
	for _, a := range addresses {
		if slices.Contains(others, a) {
			k.t.Errorf("%s is held twice", a)
		}
	}
}

func (k *killed) traces() []string {
	k.t.Helper()
	found, err := k.node.Traces(k.t.Context())
	if err != nil {
		k.t.Fatal(err)
	}
	for _, a := range []Attachment{k.victim, k.another} {
		pod, err := lab.Borrow(a.Netns)
		if err != nil {
			k.t.Fatal(err)
		}
		inside, err := (&Namespace{Namespace: pod}).traces()
		pod.Release()
		if err != nil {
			k.t.Fatal(err)
		}
		for _, trace := range inside {
			found = append(found, fmt.Sprint("in ", a.ID, ": ", trace))
		}
	}
	return found
}

// wantOnlyTheLiving wants the node as it was, and the other pod untouched.
func (k *killed) wantOnlyTheLiving() {
	k.t.Helper()
	if diff := cmp.Diff(k.before, k.traces()); diff != "" {
		k.t.Errorf("not as before (-want +got):\n%s", diff)
	}
	if err := k.node.Check(k.t.Context(), k.living, k.result); err != nil {
		k.t.Error(err)
	}
}
