package main

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/containernetworking/cni/pkg/types"
	"golang.org/x/sys/unix"

	"github.com/ropeway-net/ropeway/statedir"
)

func TestStatusIsReadyWithoutLeavingATrace(t *testing.T) {
	n := newNode(t)
	n.must(call{verb: "STATUS", conf: n.conf()})
	n.wantNothingLeft()
	if _, err := os.Stat(string(n.state)); err == nil {
		t.Error("STATUS made the state directory")
	}
}

func TestStatusSaysWhyAnAddWouldFail(t *testing.T) {
	for name, prepare := range map[string]func(n *testNode) (conf string, words []string){
		"no node.json": func(n *testNode) (string, []string) {
			return n.conf("podCIDRs", nil), []string{"node.json", "ropewayd"}
		},
		"node.json of an earlier boot": func(n *testNode) (string, []string) {
			node := statedir.Node{BootID: "earlier", MTU: 1450, PodCIDRs: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/24")}}
			if err := n.state.WriteNode(node); err != nil {
				n.t.Fatal(err)
			}
			return n.conf("podCIDRs", nil), []string{"node.json", "earlier boot", "ropewayd"}
		},
		"damaged node.json": func(n *testNode) (string, []string) {
			if err := statedir.WriteFile(n.state.NodeFile(), []byte("{")); err != nil {
				n.t.Fatal(err)
			}
			return n.conf("podCIDRs", nil), []string{"node.json", "not valid", "ropewayd"}
		},
		"full pool": func(n *testNode) (string, []string) {
			conf := n.conf("podCIDRs", []string{"10.99.0.0/29"})
			for i := range 5 {
				n.add(call{id: fmt.Sprint("pod", i), netns: newNetns(n.t), conf: conf})
			}
			return conf, []string{"10.99.0.0/29 is full", "5 of 5"}
		},
		"read-only state": func(n *testNode) (string, []string) {
			n.mountState("ro")
			return n.conf(), []string{string(n.state), "read-only"}
		},
		"full state": func(n *testNode) (string, []string) {
			n.mountState("")
			n.fillState()
			return n.conf(), []string{string(n.state), "no space"}
		},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t)
			conf, words := prepare(n)
			n.wantError(call{verb: "STATUS", conf: conf}, types.ErrPluginNotAvailable, words...)
		})
	}
}

// mountState puts the state directory on a small file system of its own.
func (n *testNode) mountState(options string) {
	n.t.Helper()
	dir := string(n.state)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		n.t.Fatal(err)
	}
	var flags uintptr
	if options == "ro" {
		flags = unix.MS_RDONLY
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", flags, "size=64k"); err != nil {
		n.t.Fatalf("mount %s: %v", dir, err)
	}
	n.t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			n.t.Error(err)
		}
	})
}

// fillState leaves no byte free there.
func (n *testNode) fillState() {
	n.t.Helper()
	if err := os.WriteFile(filepath.Join(string(n.state), "ballast"), make([]byte, 128<<10), 0o600); err == nil {
		n.t.Fatal("the file system is larger than asked for")
	}
}

func TestAddSaysWhenTheStateDirectoryTakesNoFile(t *testing.T) {
	for name, tt := range map[string]struct {
		options string
		fill    bool
		words   []string
	}{
		"full":      {fill: true, words: []string{"no space left", "free space"}},
		"read-only": {options: "ro", words: []string{"read-only", "mount"}},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t)
			n.mountState(tt.options)
			if tt.fill {
				n.fillState()
			}
			n.wantError(call{verb: "ADD", id: "a", netns: newNetns(t), conf: n.conf()},
				types.ErrIOFailure, append(tt.words, string(n.state))...)
			n.wantNothingLeft()
		})
	}
}

func TestDelMakesRoomOnAFullStateDirectory(t *testing.T) {
	n := newNode(t)
	n.mountState("")
	n.networks = filepath.Join(string(n.state), "networks")
	n.add(call{id: "a", netns: newNetns(t), conf: n.conf()})
	n.fillState()
	n.must(call{verb: "DEL", id: "a", conf: n.conf()})
	n.wantNothingLeft()
}
