// Command kube starts and ends a Kubernetes on this machine whose pods Ropeway
// connects; `make kube-up` and its like call it.
package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/ropeway-net/ropeway/daemon/topology"
	"github.com/ropeway-net/ropeway/integration/kube"
	"github.com/ropeway-net/ropeway/integration/lab"
)

func main() {
	kube.BecomeMachine()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := command().ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "kube:", err)
		stop()
		os.Exit(1)
	}
}

func command() *cobra.Command {
	root := &cobra.Command{
		Use:           "kube",
		Short:         "A Kubernetes on this machine, its nodes being namespaces (root)",
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	name := root.PersistentFlags().StringP("name", "n", "kube", "the cluster's name, 1 to 12 of a-z and 0-9")
	root.AddCommand(build(), packages(), up(name), down(name), shell(name), conformance(), bench())
	return root
}

// projectRoot is the directory with the project's go.mod.
func projectRoot(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "github.com/ropeway-net/ropeway").Output()
	if err != nil {
		return "", fmt.Errorf("find the project (run kube inside it): %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}

func build() *cobra.Command {
	var tests bool
	cmd := &cobra.Command{
		Use:   "build",
		Short: "Build Kubernetes and the images (the first time: many minutes)",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			root, err := projectRoot(cmd.Context())
			if err != nil {
				return err
			}
			if err := kube.Prepare(cmd.Context(), root, cmd.ErrOrStderr()); err != nil {
				return err
			}
			if tests {
				return kube.BuildE2E(cmd.Context(), root, kube.BuildDir(root), cmd.ErrOrStderr())
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&tests, "e2e", false, "also Kubernetes' own end-to-end tests")
	return cmd
}

func packages() *cobra.Command {
	return &cobra.Command{
		Use:   "packages",
		Short: "List the Debian packages that clusters need",
		Args:  cobra.NoArgs,
		Run: func(cmd *cobra.Command, _ []string) {
			fmt.Fprintln(cmd.OutOrStdout(), strings.Join(kube.ToolPackages(), " "))
		},
	}
}

func up(name *string) *cobra.Command {
	options := kube.Options{Persistent: true}
	var mode, proxy, families, network string
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Start a control plane and three nodes, and install Ropeway",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			root, err := projectRoot(cmd.Context())
			if err != nil {
				return err
			}
			options.Name, options.Mode, options.Proxy, options.Pods = *name, topology.Mode(mode), kube.Proxy(proxy), lab.Families(families)
			options.Network = kube.Network(network)
			c, err := kube.Up(cmd.Context(), root, options, cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			out, err := c.Kubectl(cmd.Context(), "get", "nodes,pods", "-A", "-o", "wide")
			fmt.Fprint(cmd.OutOrStdout(), out)
			return err
		},
	}
	cmd.Flags().StringVar(&mode, "mode", "", "mode of Ropeway (vxlan)")
	cmd.Flags().StringVar(&proxy, "proxy", "", "mode of kube-proxy (nftables)")
	cmd.Flags().StringVar(&network, "network", "", "who connects the pods: ropeway or reference (ropeway)")
	cmd.Flags().StringVar(&families, "pods", "", "address families: dual, ipv4 or ipv6 (dual)")
	return cmd
}

func down(name *string) *cobra.Command {
	return &cobra.Command{
		Use:   "down",
		Short: "End the cluster and remove every trace of it",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := open(cmd.Context(), *name)
			if err != nil {
				return err
			}
			return c.Down(cmd.Context())
		},
	}
}

func open(ctx context.Context, name string) (*kube.Cluster, error) {
	root, err := projectRoot(ctx)
	if err != nil {
		return nil, err
	}
	return kube.Open(ctx, root, name)
}

func shell(name *string) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "shell [command...]",
		Short: "A shell beside the control plane, with kubectl; or a command",
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := open(cmd.Context(), *name)
			if err != nil {
				return err
			}
			root, err := projectRoot(cmd.Context())
			if err != nil {
				return err
			}
			path := filepath.Join(kube.BuildDir(root), "bin") + ":" + os.Getenv("PATH")
			for key, value := range map[string]string{"KUBECONFIG": c.AdminConfig(), "PATH": path, "PS1": `kube \w \$ `} {
				if err := os.Setenv(key, value); err != nil {
					return err
				}
			}
			if len(args) == 0 {
				args = []string{"bash", "--norc"}
			}
			return c.Control.Network.Become(args)
		},
	}
	cmd.Flags().SetInterspersed(false) // what follows belongs to the command
	return cmd
}
