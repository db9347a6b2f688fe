package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/ropeway-net/ropeway/daemon/topology"
	"github.com/ropeway-net/ropeway/integration/lab"
)

// labName is the name of a lab that was given none.
const labName = "play"

// labTimeout bounds each lab command but exec.
const labTimeout = time.Minute

// labCommand is `ropewayctl lab`: a cluster's network on this machine, to play
// with.
func labCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "lab",
		Short: "Three nodes on this machine, as network namespaces, to play with (root)",
		Long: `Three nodes on this machine, as network namespaces, to play with (root).

Each node has its own directories and a ropewayd; pods are attached as a
container runtime does it. n1 and n2 share a subnet, n3 is behind a router; in
mode direct all three share one. Nothing outside the lab is changed.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	name := cmd.PersistentFlags().StringP("name", "n", labName, "the lab's name, 1 to 12 of a-z and 0-9")
	cmd.AddCommand(labUp(name), labExec(name), labPods(name), labDown(name))
	return cmd
}

func labUp(name *string) *cobra.Command {
	options := lab.Options{Persistent: true}
	var mode, underlay, families string
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Build the nodes and start their daemons",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			options.Name, options.Mode = *name, topology.Mode(mode)
			options.Underlay, options.Pods = lab.Families(underlay), lab.Families(families)
			return withLabTimeout(cmd, func(ctx context.Context) error {
				return upLab(ctx, cmd.OutOrStdout(), options)
			})
		},
	}
	cmd.Flags().StringVarP(&mode, "mode", "m", "vxlan", "vxlan, vxlan-cross-subnet, ipip, ipip-cross-subnet or direct")
	cmd.Flags().StringVar(&underlay, "underlay", "dual", "addresses between nodes: ipv4, ipv6, dual or dual-ipv6 (tunnels use the first)")
	cmd.Flags().StringVar(&families, "families", "dual", "addresses of pods: ipv4, ipv6 or dual")
	cmd.Flags().IntVar(&options.MTU, "mtu", 1500, "bytes that the network between nodes carries")
	cmd.Flags().StringVar(&options.BinDir, "bin", "", "where the plugins and ropewayd are; default: next to ropewayctl, or bin/")
	return cmd
}

func upLab(ctx context.Context, out io.Writer, options lab.Options) error {
	if !slices.Contains(lab.Modes(), options.Mode) {
		return fmt.Errorf("mode %q is unknown; use one of %s", options.Mode, strings.Trim(fmt.Sprint(lab.Modes()), "[]"))
	}
	if err := lab.Supported(options); err != nil {
		return fmt.Errorf("%w; `make demo` runs that mode inside a Debian kernel", err)
	}
	start := time.Now()
	l, err := lab.New(ctx, options)
	if err != nil {
		return err
	}
	if err := l.Start(ctx); err != nil {
		return errors.Join(err, l.Close())
	}
	say(out, "Lab %s is up: mode %s, ready in %.1f s; files in %s\n\n", l.Name(), l.Options().Mode, time.Since(start).Seconds(), l.Dir())
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	say(table, "NODE\tSUBNET\tADDRESSES\tPODS GET\n")
	for _, n := range l.Nodes() {
		facts := n.Facts()
		say(table, "%s\t%d\t%s\t%s\n", n.Name, n.Subnet, join(facts.Addresses), join(facts.PodCIDRs))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	first, last := l.Nodes()[0], l.Nodes()[len(l.Nodes())-1]
	tryNext(out, l.Name(),
		"pods add "+first.Name+" web", "pods add "+last.Name+" client",
		"exec "+first.Name+" -- ip route show proto 114", "down")
	say(out, "  %s status --state-dir %s\n", os.Args[0], first.StateDir())
	return nil
}

func labExec(name *string) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "exec NODE|POD [--] COMMAND [ARGUMENT...]",
		Short: "Run a command in the network namespace of a node or pod",
		Example: `  ropewayctl lab exec n1 -- ip route show proto 114
  ropewayctl lab exec client -- ping -c 3 10.244.1.2`,
		Args: withUsage(cobra.MinimumNArgs(2)),
		RunE: func(cmd *cobra.Command, args []string) error {
			l, err := openLab(cmd.Context(), *name)
			if err != nil {
				return err
			}
			ns, err := l.Member(args[0])
			if err != nil {
				return err
			}
			command := args[1:]
			if command[0] == "--" {
				command = command[1:]
			}
			if len(command) == 0 {
				return errors.New("no command; write for instance: -- ip route")
			}
			return ns.Become(command)
		},
	}
	cmd.Flags().SetInterspersed(false) // the command's flags are not ours
	return cmd
}

func labPods(name *string) *cobra.Command {
	list := func(cmd *cobra.Command, _ []string) error {
		l, err := openLab(cmd.Context(), *name)
		if err != nil {
			return err
		}
		return listPods(cmd.OutOrStdout(), l)
	}
	cmd := &cobra.Command{Use: "pods", Short: "List, attach and detach pods", Args: cobra.NoArgs, RunE: list}
	cmd.AddCommand(
		&cobra.Command{Use: "ls", Short: "List the pods", Args: cobra.NoArgs, RunE: list},
		&cobra.Command{
			Use: "add NODE POD", Short: "Attach a pod to a node", Args: withUsage(cobra.ExactArgs(2)),
			RunE: func(cmd *cobra.Command, args []string) error {
				return withLabTimeout(cmd, func(ctx context.Context) error {
					return addPod(ctx, cmd.OutOrStdout(), *name, args[0], args[1])
				})
			},
		},
		&cobra.Command{
			Use: "rm POD", Short: "Detach a pod", Args: withUsage(cobra.ExactArgs(1)),
			RunE: func(cmd *cobra.Command, args []string) error {
				return withLabTimeout(cmd, func(ctx context.Context) error {
					return removePod(ctx, cmd.OutOrStdout(), *name, args[0])
				})
			},
		})
	return cmd
}

func listPods(out io.Writer, l *lab.Lab) error {
	if len(l.Pods()) == 0 {
		say(out, "Lab %s has no pods.\n", l.Name())
		tryNext(out, l.Name(), "pods add "+l.Nodes()[0].Name+" web")
		return nil
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	say(table, "POD\tNODE\tADDRESSES\n")
	for _, p := range l.Pods() {
		say(table, "%s\t%s\t%s\n", p.Name, p.Node.Name, join(p.Addresses))
	}
	return table.Flush()
}

func addPod(ctx context.Context, out io.Writer, name, node, pod string) error {
	l, err := openLab(ctx, name)
	if err != nil {
		return err
	}
	n := l.Node(node)
	if n == nil {
		return fmt.Errorf("lab %s has no node %s; it has %s", name, node, nodeNames(l))
	}
	if l.Node(pod) != nil {
		return fmt.Errorf("%s is a node of lab %s; give the pod another name", pod, name)
	}
	if p := l.Pod(pod); p != nil {
		return fmt.Errorf("lab %s has a pod %s already, on node %s; give this one another name, or first: ropewayctl lab --name %s pods rm %s", name, pod, p.Node.Name, name, pod)
	}
	p, err := n.AttachPod(ctx, pod)
	if err != nil {
		return err
	}
	say(out, "Pod %s on %s: %s\n", p.Name, node, join(p.Addresses))
	for _, other := range l.Pods() {
		if other != p {
			tryNext(out, l.Name(), fmt.Sprintf("exec %s -- ping -c 3 %s", other.Name, p.Addresses[0]))
			return nil
		}
	}
	tryNext(out, l.Name(), "exec "+pod+" -- ip address", "pods add "+l.Nodes()[len(l.Nodes())-1].Name+" client")
	return nil
}

func removePod(ctx context.Context, out io.Writer, name, pod string) error {
	l, err := openLab(ctx, name)
	if err != nil {
		return err
	}
	p := l.Pod(pod)
	if p == nil {
		return fmt.Errorf("lab %s has no pod %s; see: ropewayctl lab pods", name, pod)
	}
	if err := p.Detach(ctx); err != nil {
		return err
	}
	say(out, "Pod %s is gone.\n", pod)
	return nil
}

func labDown(name *string) *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:   "down",
		Short: "Remove the lab, or all labs, with everything that they made",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			names := []string{*name}
			if all {
				found, err := lab.Existing()
				if err != nil {
					return err
				}
				names = found
			}
			return withLabTimeout(cmd, func(ctx context.Context) error {
				return downLabs(ctx, cmd.OutOrStdout(), names)
			})
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "all labs, also those of programs that were killed")
	return cmd
}

func downLabs(ctx context.Context, out io.Writer, names []string) error {
	if len(names) == 0 {
		say(out, "There is no lab.\n")
	}
	var errs []error
	for _, name := range names {
		l, err := openLab(ctx, name)
		if err == nil {
			err = l.Close()
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		say(out, "Lab %s is gone.\n", name)
	}
	return errors.Join(errs...)
}

// openLab does not wait long for another command to finish.
func openLab(ctx context.Context, name string) (*lab.Lab, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	return lab.Open(ctx, name)
}

func withLabTimeout(cmd *cobra.Command, fn func(context.Context) error) error {
	ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, labTimeout)
	defer cancel()
	return fn(ctx)
}

// tryNext suggests commands of `ropewayctl lab`.
func tryNext(out io.Writer, name string, commands ...string) {
	say(out, "\nTry next:\n")
	for _, command := range commands {
		if name != labName {
			command = "--name " + name + " " + command
		}
		say(out, "  %s lab %s\n", os.Args[0], command) // as it was called, so that it can be pasted
	}
}

// withUsage tells what the arguments are when they are too few or too many.
func withUsage(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return fmt.Errorf("%w; usage: %s", err, cmd.UseLine())
		}
		return nil
	}
}

// say writes for people; when they have gone, nothing is lost.
func say(out io.Writer, format string, args ...any) { _, _ = fmt.Fprintf(out, format, args...) }

func nodeNames(l *lab.Lab) string {
	var names []string
	for _, n := range l.Nodes() {
		names = append(names, n.Name)
	}
	return strings.Join(names, ", ")
}

func join[T netip.Addr | netip.Prefix](list []T) string {
	var texts []string
	for _, item := range list {
		texts = append(texts, fmt.Sprint(item))
	}
	return strings.Join(texts, " ")
}
