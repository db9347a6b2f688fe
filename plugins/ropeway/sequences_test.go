package main

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/ropeway-net/ropeway/endpoint"
	"github.com/ropeway-net/ropeway/plugins/protocol"
)

// sequence is a node on which verbs and faults follow each other at random.
type sequence struct {
	*testNode
	*rand.Rand
	pods map[string]string // namespace of each container
	done []string          // for messages
}

func (s *sequence) note(format string, args ...any) {
	s.done = append(s.done, fmt.Sprintf(format, args...))
}

// attachmentOf is one of a few, so that verbs meet.
func (s *sequence) attachmentOf() (id, ifName string) {
	return fmt.Sprint("c", s.IntN(2)), fmt.Sprint("eth", s.IntN(2))
}

func (s *sequence) confWithPorts() string {
	if s.IntN(2) == 0 {
		return s.conf()
	}
	port := fmt.Sprint(8080 + s.IntN(2))
	return s.conf("runtimeConfig", map[string]any{"portMappings": []any{map[string]any{"hostPort": 8080 + s.IntN(2), "containerPort": 80, "protocol": "udp"}}}, "dns", map[string]any{"domain": port})
}

// verb calls one at random; it may fail, but only in a way that says how.
func (s *sequence) verb() {
	id, ifName := s.attachmentOf()
	c := call{
		verb: []string{"ADD", "ADD", "ADD", "DEL", "CHECK", "STATUS", "GC"}[s.IntN(7)], id: id, ifName: ifName, netns: s.pods[id], conf: s.confWithPorts(),
	}
	if c.verb == "GC" {
		c.conf = s.conf("cni.dev/valid-attachments", []any{attachment(id, "eth0")})
	}
	_, err := s.run(c)
	s.note("%s %s %s: %v", c.verb, id, ifName, err)
	if err != nil && err.Code == types.ErrInternal {
		s.t.Errorf("an error of no class: %v", err)
	}
}

// failingAdd fails at a step of ADD, which takes back what it did.
func (s *sequence) failingAdd() {
	id, ifName := s.attachmentOf()
	steps := s.IntN(15)
	in(s.t, s.netns, func() {
		p := plugin{stdout: &bytes.Buffer{}, beforeStep: func(string) error {
			if steps--; steps < 0 {
				return errors.New("broken on purpose")
			}
			return nil
		}}
		err := p.add(deadline(s.t), &protocol.Args{ContainerID: id, IfName: ifName, Netns: s.pods[id], Path: s.cniPath, StdinData: []byte(s.confWithPorts())})
		s.note("failing ADD %s %s: %v", id, ifName, err)
	})
}

func (s *sequence) kill() {
	id, _ := s.attachmentOf()
	s.killAdd(call{id: id, netns: s.pods[id], conf: s.confWithPorts()}, time.Duration(s.Int64N(int64(30*time.Millisecond))))
	s.note("killed ADD %s eth0", id)
}

// loseNetns takes a pod's namespace away and gives it another.
func (s *sequence) loseNetns() {
	id, _ := s.attachmentOf()
	dropNetns(s.t, s.pods[id])
	s.pods[id] = newNetns(s.t)
	s.note("%s has another namespace", id)
}

// damageKernel takes away what somebody else might.
func (s *sequence) damageKernel() {
	id, ifName := s.attachmentOf()
	link := endpoint.HostLink(id, ifName)
	command(s.t, s.netns, "sh", "-c", []string{
		"ip link delete " + link + " 2>/dev/null || true", "ip link set " + link + " down 2>/dev/null || true",
		"nft flush ruleset", "ip route flush proto 114", "ip neigh flush nud permanent 2>/dev/null || true",
	}[s.IntN(5)])
	s.note("the kernel lost something of %s %s", id, ifName)
}

// damageFiles removes, empties or replaces a file of the state.
func (s *sequence) damageFiles() {
	var files []string
	for _, dir := range []string{s.state.Endpoints(), filepath.Join(s.networks, "demo")} {
		entries, _ := os.ReadDir(dir)
		for _, e := range entries {
			if e.Name() != "boot_id" && e.Name() != "lock" {
				files = append(files, filepath.Join(dir, e.Name()))
			}
		}
	}
	if len(files) == 0 {
		return
	}
	path := files[s.IntN(len(files))]
	var err error
	switch kind := s.IntN(4); kind {
	case 0:
		err = os.Remove(path)
	case 1:
		err = os.WriteFile(path, nil, 0o600)
	case 2:
		err = os.WriteFile(path, []byte("{\"torn"), 0o600)
	case 3:
		if strings.HasPrefix(path, s.state.Endpoints()) {
			err = errors.Join(os.Remove(path), syscall.Mkfifo(path, 0o600))
		}
	}
	s.note("%s is damaged: %v", filepath.Base(path), err)
}

// TestWhateverHappensTheMachineIsAsBeforeAfterDelOrGCOfEverything draws verbs
// and faults at random. After faults that leave the plugin its files, DEL takes
// everything back; after any, GC does.
func TestWhateverHappensTheMachineIsAsBeforeAfterDelOrGCOfEverything(t *testing.T) {
	for i := range 12 {
		seed := rand.Uint64()
		s := &sequence{testNode: newNode(t), Rand: rand.New(rand.NewPCG(seed, 0)), pods: map[string]string{"c0": newNetns(t), "c1": newNetns(t)}}
		byDel := i%2 == 0
		faults := []func(){s.failingAdd, s.kill, s.loseNetns}
		if !byDel {
			faults = append(faults, s.damageKernel, s.damageFiles, s.damageFiles)
		}
		for range 10 {
			if s.IntN(3) > 0 {
				s.verb()
			} else {
				faults[s.IntN(len(faults))]()
			}
		}
		if byDel {
			for _, id := range []string{"c0", "c1"} {
				for _, ifName := range []string{"eth0", "eth1"} {
					s.must(call{verb: "DEL", id: id, ifName: ifName, conf: s.conf()})
				}
			}
		} else {
			s.gc(s.conf())
		}
		s.wantNothingLeft()
		s.wantNoPorts()
		for id, pod := range s.pods {
			if left := kernelTraces(t, pod); len(left) > 0 {
				t.Errorf("left in %s: %q", id, left)
			}
		}
		if t.Failed() {
			t.Fatalf("seed %d:\n%s", seed, strings.Join(s.done, "\n"))
		}
	}
}
