package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ropeway-net/ropeway/daemon/cluster"
	"github.com/ropeway-net/ropeway/statedir"
)

// stateFile is in the lab's directory, for programs that come later.
const stateFile = "lab.json"

// state is the content of the state file.
type state struct {
	Options Options        `json:"options"`
	Owner   Identity       `json:"owner"` // who made it
	Cluster []cluster.Node `json:"cluster"`
	Slots   int            `json:"slots"`
	Created int            `json:"created"`
	Nodes   []nodeState    `json:"nodes"`
	Pods    []podState     `json:"pods"`
}

type nodeState struct {
	Facts  cluster.Node `json:"facts"`
	Subnet int          `json:"subnet"`
	Number int          `json:"number"`
	Daemon *Identity    `json:"daemon,omitempty"`
}

type podState struct {
	Name        string       `json:"name"`
	Node        string       `json:"node"`
	ContainerID string       `json:"containerID"`
	Addresses   []netip.Addr `json:"addresses"`
}

// save writes the state file. A lab that ends with its program needs only the
// one that New writes, by which Abandoned knows it.
func (l *Lab) save() error {
	path := filepath.Join(l.options.Dir, stateFile)
	if _, err := os.Lstat(path); err == nil && !l.options.Persistent {
		return nil
	}
	s := state{Options: l.options, Owner: l.owner}
	for _, n := range l.Nodes() {
		entry := nodeState{Facts: n.Facts(), Subnet: n.Subnet, Number: n.number}
		if p := n.process(); p != nil {
			entry.Daemon = &p.Identity
		}
		s.Nodes = append(s.Nodes, entry)
	}
	for _, p := range l.Pods() {
		s.Pods = append(s.Pods, podState{Name: p.Name, Node: p.Node.Name, ContainerID: p.ContainerID, Addresses: p.Addresses})
	}
	l.mu.Lock()
	s.Cluster, s.Slots, s.Created = l.cluster, l.slots, l.created
	l.mu.Unlock()
	b, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return fmt.Errorf("encode state of lab %s: %w", l.options.Name, err)
	}
	return statedir.WriteFile(path, append(b, '\n'))
}

// Open takes a lab below [Root] that an earlier program made. What is missing
// of it, because somebody removed it, is left out, so that Close can remove the
// rest. One program at a time has a lab open; others wait until it ends or
// ctx does.
func Open(ctx context.Context, name string) (*Lab, error) {
	dir := filepath.Join(Root, name)
	lock, err := lockDir(ctx, dir)
	if err != nil {
		return nil, err
	}
	l, err := open(dir)
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	l.lock = lock
	return l, nil
}

func open(dir string) (*Lab, error) {
	b, err := os.ReadFile(filepath.Join(dir, stateFile))
	if err != nil {
		return nil, err
	}
	var s state
	if err := json.Unmarshal(b, &s); err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, stateFile), err)
	}
	l := &Lab{
		options: s.Options, owner: s.Owner, cluster: s.Cluster, slots: s.Slots, created: s.Created,
		nodes: map[string]*Node{}, pods: map[string]*Pod{},
	}
	l.Router, _ = openNamespace(l.namespaceName("router"))
	l.World, _ = openNamespace(l.namespaceName("world"))
	for _, entry := range s.Nodes {
		ns, openErr := openNamespace(l.namespaceName(entry.Facts.Name))
		if openErr != nil {
			ns = &Namespace{name: l.namespaceName(entry.Facts.Name)} // Close still cleans up
		}
		n := &Node{
			Namespace: ns, Name: entry.Facts.Name, Subnet: entry.Subnet, Dir: filepath.Join(dir, entry.Facts.Name),
			lab: l, number: entry.Number, facts: entry.Facts,
		}
		if entry.Daemon != nil {
			n.daemon = Adopt(*entry.Daemon)
		}
		l.nodes[n.Name] = n
	}
	for _, entry := range s.Pods {
		ns, openErr := openNamespace(l.namespaceName(entry.Name))
		if n := l.nodes[entry.Node]; n != nil && openErr == nil {
			l.pods[entry.Name] = &Pod{Namespace: ns, Name: entry.Name, Node: n, ContainerID: entry.ContainerID, Addresses: entry.Addresses}
		}
	}
	return l, nil
}

// lockDir locks a lab's directory for as long as the file is open.
func lockDir(ctx context.Context, dir string) (*os.File, error) {
	f, err := os.Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no lab %q; see: ropewayctl lab up", filepath.Base(dir))
	}
	if err != nil {
		return nil, err
	}
	err = Poll(ctx, 20*time.Millisecond, func() error {
		lockErr := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if lockErr != nil && !errors.Is(lockErr, unix.EWOULDBLOCK) {
			return Final{Cause: lockErr}
		}
		return lockErr
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lab %s is in use by another program: %w", filepath.Base(dir), err), f.Close())
	}
	return f, nil
}

// Existing lists the labs below [Root] that anybody may use or remove: the
// persistent ones, and those whose program died before it removed them.
func Existing() ([]string, error) {
	all, err := states()
	var found []string
	for name, s := range all {
		if s.Options.Persistent || !s.Owner.alive() {
			found = append(found, name)
		}
	}
	slices.Sort(found)
	return found, err
}

// states reads the state files below Root.
func states() (map[string]state, error) {
	entries, err := os.ReadDir(Root)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	found := map[string]state{}
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(Root, e.Name(), stateFile))
		var s state
		if err == nil && json.Unmarshal(b, &s) == nil {
			found[e.Name()] = s
		}
	}
	return found, nil
}
