package main

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// player writes its turns into a log that both sides share.
type player struct {
	title    string
	log      *[]string
	fail     error
	closeErr error
}

func (p player) name() string { return p.title }

func (p player) round(context.Context) ([]timing, error) {
	*p.log = append(*p.log, p.title)
	return []timing{{"run", time.Millisecond}}, p.fail
}

func (p player) close() error {
	*p.log = append(*p.log, p.title+" closed")
	return p.closeErr
}

func game(us, them player) comparison {
	return comparison{
		open:  func() (contender, contender, error) { return us, them, nil },
		cases: map[string]string{"run": "game"},
		order: []string{"run"},
	}
}

func TestSidesTakeTurnsAndTheFirstOneChanges(t *testing.T) {
	var log []string
	results, err := game(player{title: "us", log: &log}, player{title: "them", log: &log}).measure(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"us", "them", "them", "us", "us", "them", "them", "us", "us closed", "them closed"}
	if diff := cmp.Diff(want, log); diff != "" {
		t.Errorf("turns (-want +got):\n%s", diff)
	}
	if len(results) != 1 || results[0].Case != "game" || results[0].Ratio != 1 {
		t.Errorf("results %+v", results)
	}
}

func TestBothSidesAreClosedAndNamedWhenOneFails(t *testing.T) {
	var log []string
	broken := errors.New("broken")
	left := errors.New("left a link")
	us := player{title: "us", log: &log, fail: broken}
	them := player{title: "them", log: &log, closeErr: left}
	_, err := game(us, them).measure(t.Context(), 1)
	if !errors.Is(err, broken) || !errors.Is(err, left) || !strings.Contains(err.Error(), "us: broken") {
		t.Errorf("error %v", err)
	}
	if closed := log[len(log)-2:]; closed[0] != "us closed" || closed[1] != "them closed" {
		t.Errorf("turns %v", log)
	}
}

func TestLimitCapsTheRounds(t *testing.T) {
	if got := (comparison{limit: 30}).rounds(200); got != 30 {
		t.Errorf("%d rounds, want 30", got)
	}
	if got := (comparison{}).rounds(200); got != 200 {
		t.Errorf("%d rounds, want 200", got)
	}
}

func TestEveryStepOfAComparisonIsReportedUnderACase(t *testing.T) {
	for _, c := range comparisons(binaries{}) {
		if len(c.order) == 0 || len(c.order) != len(c.cases) {
			t.Errorf("%s: steps %v, cases %v", c.name, c.order, c.cases)
		}
		for _, step := range c.order {
			if c.cases[step] == "" {
				t.Errorf("%s: step %s has no case", c.name, step)
			}
		}
	}
}

func TestProgramRunsInItsNamespaceAlone(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("network namespaces need root; run the test as root")
	}
	node, err := newNamespace()
	if err != nil {
		t.Fatal(err)
	}
	defer node.close()
	if links, listErr := node.links(); listErr != nil || len(links) > 0 {
		t.Errorf("a new namespace holds links %v, %v", links, listErr)
	}
	inside, err := node.exec(t.Context(), "/bin/sh", nil, []byte("readlink /proc/self/ns/net"))
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.Readlink(node.path())
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.TrimSpace(string(inside.stdout)); got != want {
		t.Errorf("the program ran in %s, want %s", got, want)
	}
	outside, err := os.Readlink("/proc/thread-self/ns/net") // self is the main thread, which onOwnThread may have used
	if err != nil {
		t.Fatal(err)
	}
	if outside == want {
		t.Error("the namespace is the test's own")
	}
}

func TestFailingProgramShowsWhatItSaid(t *testing.T) {
	_, err := execute(t.Context(), "/bin/sh", nil, []byte("echo code 7; echo why >&2; exit 1"))
	if err == nil || !strings.Contains(err.Error(), "code 7") || !strings.Contains(err.Error(), "why") {
		t.Errorf("error %v", err)
	}
}
