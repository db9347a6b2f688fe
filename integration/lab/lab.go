package lab

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/ropeway-net/ropeway/daemon/cluster"
	"github.com/ropeway-net/ropeway/daemon/topology"
)

// Lab is a set of nodes and pods. Its methods may be called concurrently,
// except Close, AddNode and RemoveNode.
type Lab struct {
	// Router forwards between the subnets and the world; it has no route to
	// any pod.
	Router *Namespace
	// World is a host outside the cluster, see [WorldAddr].
	World *Namespace

	options Options
	owner   Identity
	lock    *os.File // of an opened lab

	mu      sync.Mutex
	nodes   map[string]*Node
	pods    map[string]*Pod
	cluster []cluster.Node // what the nodes files say
	slots   int            // nodes ever made, so that numbers are not used again
	created int            // attachments ever made
}

// New builds the underlay and the nodes and writes their configuration. No
// daemon runs yet, see [Lab.Start]. After an error nothing is left.
func New(ctx context.Context, options Options) (_ *Lab, err error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("a lab is made of network namespaces; run as root")
	}
	options, err = options.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("lab: %w", err)
	}
	if err = os.MkdirAll(filepath.Dir(options.Dir), 0o755); err != nil {
		return nil, fmt.Errorf("lab %s: %w", options.Name, err)
	}
	if err = os.Mkdir(options.Dir, 0o755); err != nil {
		return nil, fmt.Errorf("lab %s: %w; is a lab of that name up? see: ropewayctl lab down", options.Name, err)
	}
	l := &Lab{options: options, owner: self(), nodes: map[string]*Node{}, pods: map[string]*Pod{}}
	completed := false
	defer func() {
		if !completed { // also by a panic
			err = errors.Join(err, l.Close())
		}
	}()
	if err := l.build(ctx); err != nil {
		return nil, fmt.Errorf("lab %s: %w", options.Name, err)
	}
	completed = true
	return l, nil
}

func (l *Lab) build(ctx context.Context) (err error) {
	if err = l.save(); err != nil {
		return err
	}
	if l.Router, err = createNamespace(l.namespaceName("router")); err != nil {
		return err
	}
	if l.World, err = createNamespace(l.namespaceName("world")); err != nil {
		return err
	}
	if err := l.options.buildRouter(l.Router); err != nil {
		return err
	}
	if err := l.options.connectWorld(l.Router, l.World); err != nil {
		return err
	}
	for number, members := range [][]string{l.options.Subnet1, l.options.Subnet2} {
		for _, name := range members {
			if _, err := l.createNode(ctx, name, number+1); err != nil {
				return err
			}
		}
	}
	return l.SetNodes(l.ClusterNodes())
}

// Name is the lab's unique name.
func (l *Lab) Name() string { return l.options.Name }

// Dir is the lab's directory.
func (l *Lab) Dir() string { return l.options.Dir }

// Options are the ones given to New, defaults filled in.
func (l *Lab) Options() Options { return l.options }

func (l *Lab) namespaceName(member string) string { return "rw-" + l.options.Name + "-" + member }

// WorldAddr is the world's address of a family, [IPv4] or [IPv6].
func WorldAddr(family Families) netip.Addr {
	world := worldAddresses(2)
	if family.has4() {
		return world[0].Addr()
	}
	return world[1].Addr()
}

// Node returns a node by name, nil when there is none.
func (l *Lab) Node(name string) *Node {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.nodes[name]
}

// Nodes are all nodes in the order of their making.
func (l *Lab) Nodes() []*Node {
	l.mu.Lock()
	defer l.mu.Unlock()
	var nodes []*Node
	for _, n := range l.nodes {
		nodes = append(nodes, n)
	}
	slices.SortFunc(nodes, func(a, b *Node) int { return cmp.Compare(a.number, b.number) })
	return nodes
}

// Pod returns an attached pod by name, nil when there is none.
func (l *Lab) Pod(name string) *Pod {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.pods[name]
}

// Pods are all attached pods, sorted by node and name.
func (l *Lab) Pods() []*Pod {
	l.mu.Lock()
	defer l.mu.Unlock()
	var pods []*Pod
	for _, p := range l.pods {
		pods = append(pods, p)
	}
	slices.SortFunc(pods, func(a, b *Pod) int {
		return cmp.Or(cmp.Compare(a.Node.number, b.Node.number), cmp.Compare(a.Name, b.Name))
	})
	return pods
}

// Member is the namespace of a node or attached pod, or of router or world.
func (l *Lab) Member(name string) (*Namespace, error) {
	if n := l.Node(name); n != nil {
		return n.Namespace, nil
	}
	if p := l.Pod(name); p != nil {
		return p.Namespace, nil
	}
	if ns := map[string]*Namespace{"router": l.Router, "world": l.World}[name]; ns != nil {
		return ns, nil
	}
	return nil, fmt.Errorf("lab %s has no node or pod %s", l.options.Name, name)
}

// Start starts the daemon of every node that has none running and waits until
// all are ready.
func (l *Lab) Start(ctx context.Context) error {
	for _, n := range l.Nodes() {
		if n.Running() {
			continue
		}
		if err := n.StartDaemon(ctx); err != nil {
			return err
		}
	}
	return l.WaitReady(ctx)
}

// SetMode writes the mode into every node's configuration and restarts the
// daemons that run.
func (l *Lab) SetMode(ctx context.Context, mode topology.Mode) error {
	l.options.Mode = mode
	for _, n := range l.Nodes() {
		if err := n.writeConfig(); err != nil {
			return err
		}
		if !n.Running() {
			continue
		}
		if err := n.StopDaemon(ctx); err != nil {
			return err
		}
		if err := n.StartDaemon(ctx); err != nil {
			return err
		}
	}
	return l.save()
}

// Close ends the daemons and removes namespaces and files. It goes on after an
// error and returns all of them.
func (l *Lab) Close() error {
	var errs []error
	for _, n := range l.Nodes() {
		errs = append(errs, n.Kill9())
	}
	for _, p := range l.Pods() {
		errs = append(errs, p.Delete())
	}
	for _, n := range l.Nodes() {
		errs = append(errs, n.Delete())
	}
	for _, ns := range []*Namespace{l.Router, l.World} {
		if ns != nil {
			errs = append(errs, ns.Delete())
		}
	}
	// A half-made lab has pins that no field names.
	errs = append(errs, l.unpinAll())
	l.mu.Lock()
	l.nodes, l.pods = map[string]*Node{}, map[string]*Pod{}
	l.Router, l.World = nil, nil
	l.mu.Unlock()
	errs = append(errs, os.RemoveAll(l.options.Dir))
	if l.lock != nil {
		_ = l.lock.Close()
	}
	removePinDir()
	_ = os.Remove(Root) // fails, as it should, while another lab is there
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("close lab %s: %w", l.options.Name, err)
	}
	return nil
}

func (l *Lab) unpinAll() error {
	paths, err := filepath.Glob(filepath.Join(PinDir, l.namespaceName("*")))
	if err != nil {
		return err
	}
	var errs []error
	for _, path := range paths {
		errs = append(errs, unpin(path))
	}
	return errors.Join(errs...)
}
