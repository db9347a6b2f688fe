package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/ropeway-net/ropeway/daemon/reconcile"
)

func cleanupCommand(load func() (Config, error)) *cobra.Command {
	var force bool
	var binDir string
	c := &cobra.Command{
		Use:   "cleanup",
		Short: "Remove every trace of Ropeway from this node",
		Long: `Remove every trace of Ropeway from this node: links, routes, nftables table,
sysctls that it changed, CNI configuration and state directory. Stop the daemon
first, and delete the node's pods or cut them off with --force.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := load()
			if err != nil {
				return err
			}
			pods := reconcile.RefusePods
			if force {
				pods = reconcile.DetachPods
			}
			if err := cleanup(cmd.Context(), cfg, pods); err != nil {
				return err
			}
			if err := uninstall(cmd, binDir); err != nil {
				return err
			}
			fmt.Fprintln(cmd.ErrOrStderr(), "nothing of Ropeway is left on this node")
			return nil
		},
	}
	c.Flags().BoolVar(&force, "force", false, "cut off pods that are still attached")
	c.Flags().StringVar(&binDir, "bin-dir", "", "remove Ropeway's plugins from this directory, too, such as /opt/cni/bin")
	return c
}
