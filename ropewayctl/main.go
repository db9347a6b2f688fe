// Command ropewayctl is the operator's view of Ropeway.
package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"
)

// version is set by the linker.
var version = "unknown"

func main() {
	root := &cobra.Command{
		Use:           "ropewayctl",
		Short:         "Ropeway on this node, and a laboratory",
		Version:       version,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(labCommand())
	if err := root.Execute(); err != nil {
		fmt.Fprintln(os.Stderr, "ropewayctl:", err)
		os.Exit(1)
	}
}
