// Command ropewayctl is the operator's command: what the node's daemon knows,
// and a laboratory to try Ropeway in.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

// version is set by the linker.
var version = "unknown"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	root := &cobra.Command{
		Use:           "ropewayctl",
		Short:         "Answers where packets go, and plays with Ropeway in a laboratory",
		Version:       version,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.AddCommand(statusCommand(), ipamCommand(), labCommand())
	if err := root.ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "ropewayctl:", err)
		stop()
		os.Exit(1)
	}
}
