package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// fakePlugin wires pods without a node's end and gives no address to the
// containers whose id contains refuse.
const fakePlugin = `#!/bin/sh
pod() { nsenter --net="$CNI_NETNS" ip link "$@"; }
case $CNI_COMMAND in
ADD)
	case $CNI_CONTAINERID in *refuse*) echo '{"code": 100, "msg": "no address"}'; exit 1;; esac
	pod add eth0 type veth peer name other && echo '{"ips": []}';;
CHECK) pod show dev eth0 >/dev/null;;
DEL) pod del eth0 2>/dev/null || true;;
esac
`

func newFakeAttacher(t *testing.T, batch, width int, refuse string) *attacher {
	t.Helper()
	a, err := setting{batch: batch, width: width}.attacher("fake", t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(a.state, "fake")
	if err := os.WriteFile(path, []byte(strings.ReplaceAll(fakePlugin, "refuse", refuse)), 0o755); err != nil {
		t.Fatal(err)
	}
	a.network.plugins = []plugin{{path: path, conf: map[string]any{"type": "fake"}}}
	if err := a.prepare(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.close(); err != nil {
			t.Error(err)
		}
	})
	return a
}

func bySteps(samples []sample) map[string]sample {
	m := map[string]sample{}
	for _, s := range samples {
		m[s.step] = s
	}
	return m
}

func TestRoundHasEveryVerbAndLastsUntilTheLinkIsGone(t *testing.T) {
	a := newFakeAttacher(t, 1, 1, "nobody")
	for range 2 { // the pod's namespace is used again
		samples, err := a.round(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		steps := bySteps(samples)
		for _, step := range []string{stepAdd, stepCheck, stepDel, stepGone} {
			if s := steps[step]; len(s.each) != 1 || s.each[0] <= 0 || s.wall < s.each[0] {
				t.Errorf("%s took %v, in all %s", step, s.each, s.wall)
			}
		}
		if del, gone := steps[stepDel], steps[stepGone]; gone.each[0] < del.each[0] {
			t.Errorf("the link was gone after %s, DEL took %s", gone.each[0], del.each[0])
		}
	}
}

func TestFailedCallsOfACrowdAreCountedAndTheOthersGoOn(t *testing.T) {
	a := newFakeAttacher(t, 6, 3, containerID(4)[:16])
	samples, err := a.round(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	steps := bySteps(samples)
	if add := steps[stepAdd]; add.failed != 1 || len(add.each) != 5 || !strings.Contains(add.failure.Error(), "no address") {
		t.Errorf("ADD: %+v", add)
	}
	if del, gone := steps[stepDel], steps[stepGone]; len(del.each) != 6 || del.failed != 0 || len(gone.each) != 5 {
		t.Errorf("DEL %+v, gone %+v", del, gone)
	}
}

func TestFailureOfASingleCallEndsTheRun(t *testing.T) {
	a := newFakeAttacher(t, 1, 1, containerID(1)[:16])
	if _, err := a.round(t.Context()); err == nil || !strings.Contains(err.Error(), "no address") {
		t.Errorf("error %v", err)
	}
}

func TestWaitingForALinkThatStaysEndsWithTheContext(t *testing.T) {
	pod := newTestNode(t)
	d, err := watchDeparture(pod.namespace)
	if err != nil {
		t.Fatal(err)
	}
	defer d.close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if at, err := d.wait(ctx); err == nil {
		t.Errorf("a link that is still there has gone at %s", at)
	}
}
