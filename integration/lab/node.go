package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/vishvananda/netlink"

	"github.com/ropeway-net/ropeway/daemon/cluster"
	"github.com/ropeway-net/ropeway/statedir"
)

// Node is one machine of the lab.
type Node struct {
	*Namespace
	Name   string
	Subnet int    // 1 or 2
	Dir    string // everything of the node is below

	lab    *Lab
	number int // from 1, decides addresses and pod CIDRs

	mu     sync.Mutex
	facts  cluster.Node
	daemon *Process // nil: not started
}

// AddNode makes a node on subnet 1 or 2 and adds it to all nodes files. Its
// daemon is not started.
func (l *Lab) AddNode(ctx context.Context, name string, subnet int) (*Node, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	n, err := l.createNode(ctx, name, subnet)
	if err != nil {
		return nil, err
	}
	return n, l.SetNodes(l.ClusterNodes())
}

// RemoveNode ends the node, its pods and their namespaces, as when the machine
// burns down, and takes it out of the other nodes files.
func (l *Lab) RemoveNode(_ context.Context, name string) error {
	n := l.Node(name)
	if n == nil {
		return fmt.Errorf("lab %s has no node %s", l.options.Name, name)
	}
	errs := []error{n.Kill9()}
	for _, p := range l.Pods() {
		if p.Node == n {
			errs = append(errs, p.abandon())
		}
	}
	errs = append(errs, n.Delete(), os.RemoveAll(n.Dir))
	l.mu.Lock()
	delete(l.nodes, name)
	var rest []cluster.Node
	for _, c := range l.cluster {
		if c.Name != name {
			rest = append(rest, c)
		}
	}
	l.mu.Unlock()
	return errors.Join(append(errs, l.SetNodes(rest))...)
}

// Reboot gives the node a new network namespace in the place of the old one, as
// when its machine starts anew: addresses on the underlay and files stay, all
// else is gone. Whatever ran in it must have ended.
func (n *Node) Reboot(_ context.Context) error {
	if err := n.Delete(); err != nil {
		return err
	}
	// The kernel may take a moment to remove the old link of that name.
	ns, err := createNamespace(n.name)
	if err != nil {
		return err
	}
	*n.Namespace = *ns
	o := n.lab.options
	err = n.lab.Router.Netlink(func(h *netlink.Handle) error {
		old, missing := h.LinkByName(n.Name)
		if errors.As(missing, &netlink.LinkNotFoundError{}) {
			return nil
		}
		if missing != nil {
			return missing
		}
		return h.LinkDel(old)
	})
	if err != nil {
		return fmt.Errorf("node %s: remove its old link: %w", n.Name, err)
	}
	return o.connectNode(n.lab.Router, n.Namespace, n.Name, n.Subnet, o.underlayAddresses(n.Subnet, 10+n.number))
}

func (l *Lab) createNode(ctx context.Context, name string, subnet int) (*Node, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if subnet != 1 && subnet != 2 {
		return nil, fmt.Errorf("node %s: there is no subnet %d; choose 1 or 2", name, subnet)
	}
	l.mu.Lock()
	l.slots++
	number := l.slots
	l.mu.Unlock()
	if number > 200 {
		return nil, fmt.Errorf("node %s: a lab has room for 200 nodes", name)
	}
	underlay := l.options.underlayAddresses(subnet, 10+number)
	n := &Node{
		Name: name, Subnet: subnet, lab: l, number: number,
		Dir:   filepath.Join(l.options.Dir, name),
		facts: cluster.Node{Name: name, Addresses: addresses(underlay), PodCIDRs: l.options.podCIDRs(number)},
	}
	if err := n.makeDirs(); err != nil {
		return nil, fmt.Errorf("node %s: %w", name, err)
	}
	ns, err := createNamespace(l.namespaceName(name))
	if err != nil {
		return nil, err
	}
	n.Namespace = ns
	if err := l.options.connectNode(l.Router, ns, name, subnet, underlay); err != nil {
		return nil, errors.Join(err, ns.Delete())
	}
	l.mu.Lock()
	l.nodes[name] = n
	l.cluster = append(l.cluster, n.facts)
	l.mu.Unlock()
	return n, n.writeConfig()
}

// StateDir is the node's own in the place of [statedir.DefaultDir].
func (n *Node) StateDir() statedir.Dir { return statedir.Dir(filepath.Join(n.Dir, "state")) }

// NetworksDir is the node's own in the place of [statedir.DefaultNetworksDir].
func (n *Node) NetworksDir() string { return filepath.Join(n.Dir, "networks") }

// NetDir is where the daemon puts the CNI configuration.
func (n *Node) NetDir() string { return filepath.Join(n.Dir, "net.d") }

// ConfigFile is the daemon's ropewayd.yaml.
func (n *Node) ConfigFile() string { return filepath.Join(n.Dir, "ropewayd.yaml") }

// NodesFile is the list of nodes as this node is told it.
func (n *Node) NodesFile() string { return filepath.Join(n.Dir, "nodes.yaml") }

// LogFile is what the daemon wrote to stdout and stderr.
func (n *Node) LogFile() string { return filepath.Join(n.Dir, "ropewayd.log") }

// cniCache is libcni's cache of results.
func (n *Node) cniCache() string { return filepath.Join(n.Dir, "cni-cache") }

func (n *Node) makeDirs() error {
	for _, dir := range []string{string(n.StateDir()), n.NetworksDir(), n.NetDir(), n.cniCache()} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	return nil
}

// Facts are what the node would say about itself to a cluster: its addresses
// on the underlay, primary first, and its pod CIDRs.
func (n *Node) Facts() cluster.Node {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.facts
}

// Address is the node's underlay address of a family, [IPv4] or [IPv6]; zero
// when it has none.
func (n *Node) Address(family Families) netip.Addr {
	for _, a := range n.Facts().Addresses {
		if FamilyOf(a) == family {
			return a
		}
	}
	return netip.Addr{}
}

// Renumber gives the node other underlay addresses on its subnet, the last
// number being host, and rewrites all nodes files. Numbers from 11 up are used
// by the nodes themselves; take one above 210.
func (n *Node) Renumber(_ context.Context, host int) error {
	o := n.lab.options
	now := o.underlayAddresses(n.Subnet, host)
	before := n.Facts().Addresses
	// Without promotion the kernel removes a subnet's other IPv4 addresses
	// along with the first.
	if err := n.Sysctl("net/ipv4/conf/" + NodeLink + "/promote_secondaries=1"); err != nil {
		return err
	}
	err := n.Netlink(func(h *netlink.Handle) error {
		link, err := h.LinkByName(NodeLink)
		if err != nil {
			return err
		}
		for _, a := range now {
			if err = h.AddrAdd(link, netlinkAddr(a)); err != nil {
				return fmt.Errorf("add %s: %w", a, err)
			}
		}
		old, err := Dump(func() ([]netlink.Addr, error) { return h.AddrList(link, netlink.FAMILY_ALL) })
		if err != nil {
			return err
		}
		for i := range old {
			addr, _ := netip.AddrFromSlice(old[i].IP)
			if !slices.Contains(before, addr.Unmap()) {
				continue
			}
			if err := h.AddrDel(link, &old[i]); err != nil {
				return fmt.Errorf("remove %s: %w", addr, err)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	n.mu.Lock()
	n.facts.Addresses = addresses(now)
	n.mu.Unlock()
	return n.lab.SetNodes(n.lab.replaced(n.Facts()))
}
