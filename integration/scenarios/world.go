package scenarios

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"strings"

	"github.com/ropeway-net/ropeway/integration/lab"
)

// world is what the commands of one script share.
type world struct {
	Case
	lab     *lab.Lab
	streams map[string]*lab.Stream
	servers []io.Closer
	mkAbs   func(string) string // a script's file name to a path
	logf    func(format string, args ...any)
}

func newWorld(c Case) *world {
	return &world{Case: c, streams: map[string]*lab.Stream{}}
}

func (w *world) close() error {
	for _, s := range w.streams {
		s.Stop()
	}
	for _, s := range w.servers {
		_ = s.Close() // its namespace goes anyway
	}
	if w.lab == nil {
		return nil
	}
	return w.lab.Close()
}

// host is something with an address: a pod, a node, or the world outside.
type host struct {
	*lab.Namespace
	name      string
	addresses []netip.Addr
}

func (w *world) host(name string) (host, error) {
	if w.lab == nil {
		return host{}, fmt.Errorf("no lab is up; begin with `lab`")
	}
	if p := w.lab.Pod(name); p != nil {
		return host{p.Namespace, name, p.Addresses}, nil
	}
	if n := w.lab.Node(name); n != nil {
		return host{n.Namespace, name, n.Facts().Addresses}, nil
	}
	if name == "world" {
		return host{w.lab.World, name, []netip.Addr{lab.WorldAddr(lab.IPv4), lab.WorldAddr(lab.IPv6)}}, nil
	}
	if name == "router" {
		return host{w.lab.Router, name, nil}, nil
	}
	return host{}, fmt.Errorf("%s is no pod, no node and neither `world` nor `router`", name)
}

func (w *world) hosts(names ...string) ([]host, error) {
	var hosts []host
	for _, name := range names {
		h, err := w.host(name)
		if err != nil {
			return nil, err
		}
		hosts = append(hosts, h)
	}
	return hosts, nil
}

func (h host) address(family lab.Families) (netip.Addr, bool) {
	for _, a := range h.addresses {
		if lab.FamilyOf(a) == family {
			return a, true
		}
	}
	return netip.Addr{}, false
}

// eachFamily calls fn with the addresses of both for each family that both
// have; none in common is an error.
func eachFamily(from, to host, fn func(family lab.Families, src, dst netip.Addr) error) error {
	tried := 0
	for _, family := range []lab.Families{lab.IPv4, lab.IPv6} {
		src, ok := from.address(family)
		if !ok {
			continue
		}
		dst, ok := to.address(family)
		if !ok {
			continue
		}
		tried++
		if err := fn(family, src, dst); err != nil {
			return fmt.Errorf("%s to %s, %s to %s: %w", from.name, to.name, src, dst, err)
		}
	}
	if tried == 0 {
		return fmt.Errorf("%s and %s have no address family in common", from.name, to.name)
	}
	return nil
}

func (w *world) node(name string) (*lab.Node, error) {
	if w.lab == nil {
		return nil, fmt.Errorf("no lab is up; begin with `lab`")
	}
	n := w.lab.Node(name)
	if n == nil {
		return nil, fmt.Errorf("the lab has no node %s", name)
	}
	return n, nil
}

// eachNode calls fn for the named nodes.
func (w *world) eachNode(names []string, fn func(*lab.Node) error) error {
	if len(names) == 0 {
		return fmt.Errorf("name at least one node")
	}
	for _, name := range names {
		n, err := w.node(name)
		if err != nil {
			return err
		}
		if err := fn(n); err != nil {
			return fmt.Errorf("node %s: %w", name, err)
		}
	}
	return nil
}

// assignments reads arguments of the form key=value.
func assignments(args []string, known ...string) (map[string]string, error) {
	values := map[string]string{}
	for _, arg := range args {
		key, value, ok := strings.Cut(arg, "=")
		found := false
		for _, k := range known {
			found = found || k == key
		}
		if !ok || !found {
			return nil, fmt.Errorf("argument %q is none of %v with a value", arg, known)
		}
		values[key] = value
	}
	return values, nil
}

// want checks the number of arguments.
func want(args []string, usage string, least, most int) error {
	if len(args) < least || (most >= 0 && len(args) > most) {
		return fmt.Errorf("usage: %s", usage)
	}
	return nil
}

type command func(ctx context.Context, w *world, args []string) (output string, err error)

// report is what helps to understand a failure: every node's status, log and
// kernel state.
func (w *world) report() string {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var text strings.Builder
	for _, n := range w.lab.Nodes() {
		status, err := statusText(ctx, n)
		fmt.Fprintf(&text, "=== %s\n%s %v\n", n.Name, status, err)
		lines := strings.Split(strings.TrimSpace(n.Log()), "\n")
		fmt.Fprintln(&text, strings.Join(lines[max(0, len(lines)-40):], "\n"))
		for _, command := range []string{"ip route", "ip -6 route", "ip -d link show type vxlan", "nft list ruleset"} {
			output, err := n.Exec(ctx, strings.Fields(command)...)
			if err != nil {
				output = err.Error()
			}
			fmt.Fprintf(&text, "# %s\n%s", command, output)
		}
	}
	return text.String()
}
