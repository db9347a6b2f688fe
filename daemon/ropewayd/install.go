package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/ropeway-net/ropeway/daemon/install"
)

// installCommand is what the init container runs. It needs no configuration.
func installCommand() *cobra.Command {
	var from, binDir string
	c := &cobra.Command{
		Use:   "install",
		Short: "Put the CNI plugins into the container runtime's plugin directory",
		Long: `Put the CNI plugins ropeway and ropeway-ipam into the container runtime's plugin
directory, and loopback unless another project's is there. Each file is replaced
by rename: it may be called and repeated while pods start and stop.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if from == "" {
				own, err := os.Executable()
				if err != nil {
					return fmt.Errorf("find the plugins: %w; name their directory with --from", err)
				}
				from = filepath.Dir(own)
			}
			done, err := install.Plugins(cmd.Context(), from, binDir)
			printDone(cmd.ErrOrStderr(), done)
			return err
		},
	}
	c.Flags().StringVar(&from, "from", "", "directory that holds the plugins (default: that of ropewayd)")
	c.Flags().StringVar(&binDir, "bin-dir", "/opt/cni/bin", "the container runtime's plugin directory")
	return c
}

// uninstall removes the plugins, last: without them no pod could be detached
// if something before it failed. No directory means that they stay.
func uninstall(cmd *cobra.Command, binDir string) error {
	if binDir == "" {
		return nil
	}
	done, err := install.Remove(cmd.Context(), binDir)
	printDone(cmd.ErrOrStderr(), done)
	return err
}

// waitCommand keeps the pods of manifests/cleanup.yaml up: the image holds
// nothing else that could wait, and a DaemonSet starts again what ends.
func waitCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "wait",
		Short:  "Do nothing until stopped",
		Args:   cobra.NoArgs,
		Hidden: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			<-cmd.Context().Done()
			return nil
		},
	}
}

func printDone(w io.Writer, done []install.Done) {
	for _, d := range done {
		fmt.Fprintf(w, "%s: %s\n", d.Path, d.Action)
	}
}
