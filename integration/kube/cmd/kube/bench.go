package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/ropeway-net/ropeway/daemon/topology"
	"github.com/ropeway-net/ropeway/integration/kube"
)

// benchNode is where pods are started; the control plane is on another.
const benchNode = "n2"

// bench measures what users wait for, against the reference plugins.
func bench() *cobra.Command {
	var rounds, pods int
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Start many pods at once with Ropeway and with ptp + host-local, in turn",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			root, err := projectRoot(cmd.Context())
			if err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			for round := range rounds {
				took := map[kube.Network]time.Duration{}
				for _, network := range []kube.Network{kube.Reference, kube.Ropeway} {
					if took[network], err = burst(cmd.Context(), out, root, network, pods); err != nil {
						return fmt.Errorf("%s: %w", network, err)
					}
				}
				ours, theirs := took[kube.Ropeway], took[kube.Reference]
				fmt.Fprintf(out, "round %d: %d pods ready after %.1f s, ptp + host-local + portmap %.1f s, ratio %.2f\n",
					round+1, pods, ours.Seconds(), theirs.Seconds(), ours.Seconds()/theirs.Seconds())
			}
			return nil
		},
	}
	cmd.Flags().IntVar(&rounds, "rounds", 3, "how often each is measured")
	cmd.Flags().IntVar(&pods, "pods", 105, "pods; the node has a few of its own")
	return cmd
}

// burst makes a cluster for one measurement. With Ropeway it also looks at the
// daemon before and after a minute in which nothing happens.
func burst(ctx context.Context, out io.Writer, root string, network kube.Network, pods int) (took time.Duration, err error) {
	c, err := kube.Up(ctx, root, kube.Options{Mode: topology.Direct, Network: network}, io.Discard)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, c.Down(context.WithoutCancel(ctx))) }()
	if took, err = c.Burst(ctx, benchNode, pods); err != nil || network != kube.Ropeway {
		return took, err
	}
	before, err := c.Node(benchNode).Usage(ctx, "ropewayd")
	if err != nil {
		return 0, err
	}
	select {
	case <-time.After(idle):
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	after, err := c.Node(benchNode).Usage(ctx, "ropewayd")
	if err != nil {
		return 0, err
	}
	fmt.Fprintf(out, "ropewayd: %.1f MiB resident, %s of CPU time until then, %s in the idle minute after\n",
		float64(after.Resident)/(1<<20), before.CPU, after.CPU-before.CPU)
	return took, nil
}

// idle is how long the daemon is watched doing nothing.
const idle = time.Minute
