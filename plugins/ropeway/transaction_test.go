package main

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"github.com/ropeway-net/ropeway/plugins/protocol"
)

// attachArgs are those of a direct call in the node's namespace.
func attachArgs(n *testNode, pod string) *protocol.Args {
	return &protocol.Args{ContainerID: "a", Netns: pod, IfName: "eth0", Path: n.cniPath, StdinData: []byte(n.conf("runtimeConfig", bothWays()))}
}

func TestFailureOfAnyStepLeavesNothing(t *testing.T) {
	n, pod := newNode(t), newNetns(t)
	var steps []string
	in(t, n.netns, func() {
		p := plugin{stdout: &bytes.Buffer{}, beforeStep: func(s string) error { steps = append(steps, s); return nil }}
		if err := p.add(context.Background(), attachArgs(n, pod)); err != nil {
			t.Error(err)
		}
		if err := p.del(context.Background(), attachArgs(n, pod)); err != nil {
			t.Error(err)
		}
	})
	n.wantNothingLeft()
	if len(steps) < 10 {
		t.Fatalf("ADD took only the steps %q", steps)
	}
	broken := errors.New("broken on purpose")
	for _, bad := range steps {
		t.Run(bad, func(t *testing.T) {
			in(t, n.netns, func() {
				p := plugin{stdout: &bytes.Buffer{}, beforeStep: func(s string) error {
					if s == bad {
						return broken
					}
					return nil
				}}
				if err := p.add(context.Background(), attachArgs(n, pod)); !errors.Is(err, broken) {
					t.Errorf("error %v, want %v", err, broken)
				}
			})
			n.wantNothingLeft()
			if left := kernelTraces(t, pod); len(left) > 0 {
				t.Errorf("left in the pod: %q", left)
			}
		})
	}
}

type brokenPipe struct{}

func (brokenPipe) Write([]byte) (int, error) { return 0, errors.New("broken pipe") }

func TestResultThatNobodyReadsUndoesTheAttachment(t *testing.T) {
	n, pod := newNode(t), newNetns(t)
	in(t, n.netns, func() {
		if err := (plugin{stdout: brokenPipe{}}).add(context.Background(), attachArgs(n, pod)); err == nil {
			t.Error("ADD succeeded")
		}
	})
	n.wantNothingLeft()
}

func TestInterruptedAddLeavesNothing(t *testing.T) {
	n, pod := newNode(t), newNetns(t)
	ctx, cancel := context.WithCancel(context.Background())
	in(t, n.netns, func() {
		p := plugin{stdout: &bytes.Buffer{}, beforeStep: func(s string) error {
			if s == "configure the pod's interface" {
				cancel()
			}
			return nil
		}}
		if err := p.add(ctx, attachArgs(n, pod)); !errors.Is(err, context.Canceled) {
			t.Errorf("error %v, want it interrupted", err)
		}
	})
	n.wantNothingLeft()
}
