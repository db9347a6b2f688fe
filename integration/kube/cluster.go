package kube

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/ropeway-net/ropeway/daemon/topology"
	"github.com/ropeway-net/ropeway/integration/lab"
)

// Options shape a cluster. The zero Options are three dual-stack nodes in mode
// vxlan, n3 behind a router, with kube-proxy in nftables mode.
type Options struct {
	Name  string        `json:"name,omitempty"` // as [lab.Options]
	Mode  topology.Mode `json:"mode,omitempty"`
	Proxy Proxy         `json:"proxy,omitempty"`
	Pods  lab.Families  `json:"pods,omitempty"`
	// Subnet1 and Subnet2 are as in [lab.Options]; the first node of Subnet1
	// shares its network with the control plane.
	Subnet1 []string `json:"subnet1,omitempty"`
	Subnet2 []string `json:"subnet2,omitempty"`
	// Network is who connects the pods; empty: Ropeway, by its manifest.
	Network Network `json:"network,omitempty"`
	// Persistent clusters outlive the program that made them; they end by
	// Down of a later [Open].
	Persistent bool `json:"persistent,omitempty"`
}

func (o Options) withDefaults() Options {
	if o.Mode == "" {
		o.Mode = topology.VXLAN
	}
	if o.Proxy == "" {
		o.Proxy = NFTables
	}
	if o.Pods == "" {
		o.Pods = lab.Dual
	}
	if o.Network == "" {
		o.Network = Ropeway
	}
	if len(o.Subnet1)+len(o.Subnet2) == 0 {
		o.Subnet1, o.Subnet2 = []string{"n1", "n2"}, []string{"n3"}
		if o.Mode == topology.Direct {
			o.Subnet1, o.Subnet2 = []string{"n1", "n2", "n3"}, nil
		}
	}
	return o
}

func (o Options) nodes() []string { return slices.Concat(o.Subnet1, o.Subnet2) }

// Cluster is a Kubernetes that runs.
type Cluster struct {
	Options Options
	Control *Machine // etcd, API server, controllers, scheduler
	Nodes   []*Node

	root  string // the project's directory
	build string // where Build and MakeImages put things
	dir   string
	lab   *lab.Lab
}

// BuildDir is where programs and images of the project at root are.
func BuildDir(root string) string { return filepath.Join(root, "build", "kube") }

// Up makes a cluster, connects its pods and returns when all nodes are ready
// and names are served. Build and MakeImages must have been called. It tells on
// log what it does. After an error nothing is left, except logs if keep is set.
func Up(ctx context.Context, root string, options Options, log io.Writer) (_ *Cluster, err error) {
	options = options.withDefaults()
	l, err := lab.New(ctx, lab.Options{
		Name: options.Name, Mode: options.Mode, Pods: options.Pods, Underlay: underlayOf(options.Pods),
		Subnet1: options.Subnet1, Subnet2: options.Subnet2, Persistent: options.Persistent,
	})
	if err != nil {
		return nil, err
	}
	options.Name = l.Name()
	c := newCluster(root, options, l)
	defer func() {
		if err != nil {
			err = fmt.Errorf("%w\n%s", err, c.diagnosis())
			err = errors.Join(err, c.Down(context.WithoutCancel(ctx)))
		}
	}()
	if err := os.MkdirAll(c.dir, 0o755); err != nil {
		return nil, err
	}
	if err := c.save(); err != nil {
		return nil, err
	}
	return c, c.start(ctx, log)
}

// underlayOf gives nodes what their pods have.
func underlayOf(pods lab.Families) lab.Families {
	if pods == lab.IPv6 {
		return lab.DualIPv6
	}
	return pods
}

func newCluster(root string, options Options, l *lab.Lab) *Cluster {
	c := &Cluster{Options: options, root: root, build: BuildDir(root), lab: l}
	c.dir = filepath.Join(c.build, "clusters", options.Name)
	life := lab.Attached
	if options.Persistent {
		life = lab.Detached
	}
	machine := func(name string, network *lab.Namespace) *Machine {
		return &Machine{
			Name: name, Network: network, layout: layout{filepath.Join(c.dir, name)}, life: life,
			cgroup: "ropeway-kube/" + options.Name + "-" + name,
		}
	}
	c.Control = machine("control", nil)
	if n := l.Node(options.nodes()[0]); n != nil { // there unless a killed program left the cluster behind
		c.Control.Network = n.Namespace
		c.Control.services = c.controlServices()
	}
	for _, n := range l.Nodes() {
		c.Nodes = append(c.Nodes, &Node{Machine: machine(n.Name, n.Namespace), Lab: n, cluster: c})
	}
	return c
}

func (c *Cluster) start(ctx context.Context, log io.Writer) error {
	fmt.Fprintln(log, "start the control plane")
	if err := c.startControlPlane(ctx); err != nil {
		return err
	}
	fmt.Fprintf(log, "start %s\n", strings.Join(c.Options.nodes(), ", "))
	if err := c.each(func(n *Node) error { return n.boot(ctx) }); err != nil {
		return err
	}
	if err := c.save(); err != nil {
		return err
	}
	fmt.Fprintf(log, "connect the pods: %s\n", c.Options.Network)
	if err := c.connect(ctx); err != nil {
		return err
	}
	fmt.Fprintln(log, "wait for nodes and name service")
	return c.settle(ctx)
}

// boot starts the node for the first time.
func (n *Node) boot(ctx context.Context) error {
	if err := n.configure(); err != nil {
		return fmt.Errorf("node %s: %w", n.Name, err)
	}
	if err := n.PowerOn(ctx); err != nil {
		return err
	}
	archives, err := filepath.Glob(filepath.Join(n.cluster.build, "images", "*.tar"))
	if err != nil {
		return err
	}
	return n.importImages(ctx, archives...)
}

// each calls do for all nodes at once.
func (c *Cluster) each(do func(*Node) error) error {
	var group errgroup.Group
	for _, n := range c.Nodes {
		group.Go(func() error { return do(n) })
	}
	return group.Wait()
}

// Node returns a node by name, nil when there is none.
func (c *Cluster) Node(name string) *Node {
	for _, n := range c.Nodes {
		if n.Name == name {
			return n
		}
	}
	return nil
}

func (c *Cluster) controlNode() *lab.Node { return c.lab.Node(c.Options.nodes()[0]) }

// Lab is the network under the cluster.
func (c *Cluster) Lab() *lab.Lab { return c.lab }

func (c *Cluster) pki() pki { return pki{filepath.Join(c.dir, "pki")} }

// Down ends everything and removes it. It goes on after an error.
func (c *Cluster) Down(ctx context.Context) error {
	var errs []error
	for _, n := range c.Nodes {
		errs = append(errs, n.PowerOff(ctx))
	}
	errs = append(errs, c.Control.PowerOff(ctx))
	errs = append(errs, removeCgroup(ctx, "ropeway-kube/"+c.Options.Name+"-*"))
	errs = append(errs, os.RemoveAll(c.dir), c.lab.Close())
	removeIfEmpty(filepath.Dir(c.dir))
	if err := removeEmptyCgroups(); err != nil {
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("end cluster %s: %w", c.Options.Name, err)
	}
	return nil
}

// removeIfEmpty leaves a directory that another cluster is in.
func removeIfEmpty(dir string) { _ = os.Remove(dir) }

func (c *Cluster) machines() []*Machine {
	all := []*Machine{c.Control}
	for _, n := range c.Nodes {
		all = append(all, n.Machine)
	}
	return all
}

// state is what a later program needs to know.
type state struct {
	Options   Options                 `json:"options"`
	Processes map[string]lab.Identity `json:"processes"` // by machine
}

func (c *Cluster) save() error {
	s := state{Options: c.Options, Processes: map[string]lab.Identity{}}
	for _, m := range c.machines() {
		if m.process != nil {
			s.Processes[m.Name] = m.process.Identity
		}
	}
	b, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(c.dir, "cluster.json"), b, 0o600)
}

// Open takes a cluster that an earlier program made.
func Open(ctx context.Context, root, name string) (*Cluster, error) {
	b, err := os.ReadFile(filepath.Join(BuildDir(root), "clusters", name, "cluster.json"))
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("there is no cluster %q; see: make kube-up", name)
	}
	if err != nil {
		return nil, err
	}
	var s state
	if err = json.Unmarshal(b, &s); err != nil {
		return nil, err
	}
	l, err := lab.Open(ctx, name)
	if err != nil {
		return nil, err
	}
	c := newCluster(root, s.Options, l)
	for _, m := range c.machines() {
		if id, ok := s.Processes[m.Name]; ok {
			m.process = lab.Adopt(id)
		}
	}
	return c, nil
}
