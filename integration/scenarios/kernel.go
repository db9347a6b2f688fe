package scenarios

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/ropeway-net/ropeway/integration/lab"
	"github.com/ropeway-net/ropeway/kernel"
)

func kernelCommands() map[string]command {
	return map[string]command{
		"plan-empty": planEmpty, "dry-run": dryRun, "kernel-state": kernelState,
		"holds-nothing-of": holdsNothingOf, "only-tunnels": onlyTunnels, "damage-tunnel": damageTunnel,
	}
}

// plan-empty NODE…: the daemon would change nothing now.
func planEmpty(ctx context.Context, w *world, args []string) (string, error) {
	return "", w.eachNode(args, func(n *lab.Node) error {
		plan, err := n.DryRun(ctx)
		if err == nil && strings.TrimSpace(plan) != "" {
			err = fmt.Errorf("the plan is not empty:\n%s", plan)
		}
		return err
	})
}

// dry-run NODE FILE: the daemon's plan as a shell script.
func dryRun(ctx context.Context, w *world, args []string) (string, error) {
	if err := want(args, "dry-run NODE FILE", 2, 2); err != nil {
		return "", err
	}
	n, err := w.node(args[0])
	if err != nil {
		return "", err
	}
	plan, err := n.DryRun(ctx)
	if err == nil && strings.TrimSpace(plan) == "" {
		err = errors.New("the plan of a fresh node is empty")
	}
	if err != nil {
		return "", err
	}
	return plan, os.WriteFile(w.mkAbs(args[1]), []byte(plan), 0o600)
}

// kernel-state NODE FILE: everything of the node's kernel that Ropeway may
// touch, as ip, bridge, nft and sysctl show it, not as Ropeway reads it.
func kernelState(ctx context.Context, w *world, args []string) (string, error) {
	if err := want(args, "kernel-state NODE FILE", 2, 2); err != nil {
		return "", err
	}
	n, err := w.node(args[0])
	if err != nil {
		return "", err
	}
	var text strings.Builder
	for _, command := range stateCommands() {
		output, err := n.Exec(ctx, strings.Fields(command)...)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&text, "# %s\n%s", command, withoutChance(output))
	}
	return "", os.WriteFile(w.mkAbs(args[1]), []byte(text.String()), 0o600)
}

func stateCommands() []string {
	return []string{
		"ip -d -o link show", "ip -o address show",
		"ip -4 route show table all", "ip -6 route show table all", "ip neigh show nud permanent",
		"bridge fdb show", "nft -nn list ruleset",
		"sysctl net.ipv4.ip_forward net.ipv6.conf.all.forwarding net.ipv4.conf.all.send_redirects net.ipv4.conf.all.rp_filter",
	}
}

// withoutChance drops what differs between two equal states: interface numbers,
// packet counters, a permanent MAC drawn at random, the order of a dump's lines.
func withoutChance(output string) string {
	var lines []string
	for line := range strings.Lines(output) {
		words := strings.Fields(line)
		if strings.HasPrefix(line, "33:33:") || strings.HasPrefix(line, "01:00:5e:") {
			continue // multicast groups that the kernel joins on its own
		}
		if len(words) > 1 && strings.HasSuffix(words[0], ":") {
			words = words[1:] // "7: ropeway-vxlan: …"
		}
		for i, word := range words {
			if slices.Contains([]string{"packets", "bytes", "permaddr"}, word) && i+1 < len(words) {
				words[i+1] = "N"
			}
		}
		lines = append(lines, strings.Join(words, " ")+"\n")
	}
	if !strings.Contains(output, "table inet") { // whose order matters
		slices.Sort(lines)
	}
	return strings.Join(lines, "")
}

// kernel-unchanged NODE COMMAND…: while the command runs, nobody changes the
// node's links, addresses, routes, permanent neighbours, FDB or nftables.
func kernelUnchanged(ctx context.Context, w *world, args []string) (string, error) {
	if err := want(args, "kernel-unchanged NODE COMMAND [ARGUMENT…]", 2, -1); err != nil {
		return "", err
	}
	n, err := w.node(args[0])
	if err != nil {
		return "", err
	}
	run, err := lookUp(args[1])
	if err != nil {
		return "", err
	}
	stop, err := watch(ctx, n)
	if err != nil {
		return "", err
	}
	output, err := run(ctx, w, args[2:])
	return output, errors.Join(err, stop())
}

// reportDelay is how long a change that has happened may take to be reported.
const reportDelay = 200 * time.Millisecond

// watch observes a node's kernel; stop says whether anything changed.
func watch(ctx context.Context, n *lab.Node) (stop func() error, err error) {
	k, err := kernel.OpenAt(n.Path())
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	reports, err := k.Watch(ctx)
	if err != nil {
		cancel()
		return nil, errors.Join(err, k.Close())
	}
	return func() error {
		defer cancel()
		var changed error
		select {
		case <-reports:
			changed = errors.New("something was written to the kernel")
		case <-time.After(reportDelay):
		}
		return errors.Join(changed, k.Close())
	}, nil
}

// holds-nothing-of NODE OTHER: no route, neighbour, FDB or set entry of NODE
// names an address of OTHER.
func holdsNothingOf(ctx context.Context, w *world, args []string) (string, error) {
	if err := want(args, "holds-nothing-of NODE OTHER", 2, 2); err != nil {
		return "", err
	}
	n, err := w.node(args[0])
	if err != nil {
		return "", err
	}
	other, err := w.node(args[1])
	if err != nil {
		return "", err
	}
	k, err := kernel.OpenAt(n.Path())
	if err != nil {
		return "", err
	}
	defer k.Close()
	snapshot, err := k.Snapshot(ctx)
	if err != nil {
		return "", err
	}
	text := snapshot.State.String()
	var traces []string
	for _, a := range other.Facts().Addresses {
		traces = append(traces, a.String())
	}
	for _, cidr := range other.Facts().PodCIDRs {
		traces = append(traces, cidr.String())
	}
	for _, trace := range traces {
		if strings.Contains(text, trace) {
			return text, fmt.Errorf("%s still holds %s of %s:\n%s", n.Name, trace, other.Name, text)
		}
	}
	return "", nil
}

// only-tunnels NODE none|KIND…: tunnel devices of these kinds and no others.
func onlyTunnels(_ context.Context, w *world, args []string) (string, error) {
	if err := want(args, "only-tunnels NODE none|KIND…", 2, -1); err != nil {
		return "", err
	}
	n, err := w.node(args[0])
	if err != nil {
		return "", err
	}
	expected := slices.DeleteFunc(slices.Clone(args[1:]), func(s string) bool { return s == "none" })
	var found []string
	err = eachLink(n, kernel.TunnelPrefix, func(_ *netlink.Handle, link netlink.Link) error {
		found = append(found, link.Type())
		return nil
	})
	slices.Sort(found)
	found = slices.Compact(found)
	slices.Sort(expected)
	if err == nil && !slices.Equal(found, expected) {
		err = fmt.Errorf("the tunnel devices are of the kinds %v, not %v", found, expected)
	}
	return "", err
}

// damage-tunnel NODE delete|down|mtu|addresses|fdb: something is done to the
// node's tunnel devices.
func damageTunnel(_ context.Context, w *world, args []string) (string, error) {
	if err := want(args, "damage-tunnel NODE KIND", 2, 2); err != nil {
		return "", err
	}
	n, err := w.node(args[0])
	if err != nil {
		return "", err
	}
	damaged := 0
	err = eachLink(n, kernel.TunnelPrefix, func(h *netlink.Handle, link netlink.Link) error {
		damaged++
		return damage(h, link, args[1])
	})
	if err == nil && damaged == 0 {
		err = fmt.Errorf("node %s has no tunnel device to damage", n.Name)
	}
	return "", err
}

func damage(h *netlink.Handle, link netlink.Link, kind string) error {
	switch kind {
	case "delete":
		return h.LinkDel(link)
	case "down":
		return h.LinkSetDown(link)
	case "mtu":
		return h.LinkSetMTU(link, 1300)
	case "addresses":
		addrs, err := lab.Dump(func() ([]netlink.Addr, error) { return h.AddrList(link, netlink.FAMILY_ALL) })
		for i := range addrs {
			err = errors.Join(err, h.AddrDel(link, &addrs[i]))
		}
		return err
	case "fdb":
		entries, err := lab.Dump(func() ([]netlink.Neigh, error) { return h.NeighList(link.Attrs().Index, unix.AF_BRIDGE) })
		for i := range entries {
			err = errors.Join(err, h.NeighDel(&entries[i]))
		}
		return err
	default:
		return fmt.Errorf("no damage %q", kind)
	}
}
