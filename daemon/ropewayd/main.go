// Command ropewayd is the node daemon: it keeps the paths between this node's
// pods and those of other nodes. It may be stopped and started at any time
// without a packet lost.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/ropeway-net/ropeway/daemon/kubernetes"
)

// version is set by the linker.
var version = "unknown"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	kubernetes.QuietLibrary()
	if err := command().ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "ropewayd:", err)
		stop()
		os.Exit(1)
	}
}

// command is the command line. Without a subcommand the daemon runs.
func command() *cobra.Command {
	var configFile string
	var dryRun bool
	given := overrides{node: os.Getenv("NODE_NAME")}
	load := func() (Config, error) { return LoadConfig(configFile, given) }
	start := func(cmd *cobra.Command, _ []string) error {
		if !dryRun {
			return run(cmd.Context(), configFile, given)
		}
		cfg, err := load()
		if err != nil {
			return err
		}
		return dryRunOnce(cmd, cfg)
	}
	root := &cobra.Command{
		Use:   "ropewayd",
		Short: "Keeps the paths between the pods of this node and all others",
		Long: `Keeps the paths between the pods of this node and all others.

It runs in the foreground as root and logs to stderr. Stopping it changes
nothing in the kernel: pods keep their links and paths. What it knows shows
"ropewayctl status".`,
		Args:          cobra.NoArgs,
		RunE:          start,
		Version:       version,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.PersistentFlags().StringVar(&configFile, "config", defaultConfigFile, "configuration file, YAML")
	root.PersistentFlags().StringVar(&given.node, "node", given.node, "this node's name in the list of nodes; without it the environment's NODE_NAME, the configuration's node, the hostname")
	root.PersistentFlags().StringSliceVar(&given.nodeAddress, "node-address", nil, "interface, CIDR or address by which other nodes reach this one, in place of the configuration's nodeAddress")
	dryRunFlag := func(c *cobra.Command) {
		c.Flags().BoolVar(&dryRun, "dry-run", false, "print the commands that would be run, and change nothing")
	}
	dryRunFlag(root)

	runCommand := &cobra.Command{
		Use:   "run",
		Short: "Run in the foreground (what ropewayd does without a command)",
		Args:  cobra.NoArgs,
		RunE:  start,
	}
	dryRunFlag(runCommand)

	root.AddCommand(runCommand, cleanupCommand(load), installCommand(), waitCommand())
	return root
}

func dryRunOnce(cmd *cobra.Command, cfg Config) error {
	k, err := openKernel(cmd.Context(), cfg)
	if err != nil {
		return err
	}
	defer k.Close()
	return printPlan(cmd.Context(), cfg, k, cmd.OutOrStdout(), cmd.ErrOrStderr())
}
