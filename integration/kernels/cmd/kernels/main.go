// Command kernels runs a command inside Debian's own kernel under qemu.
//
//	kernels ensure                                install what is needed on the host
//	kernels run [flags] -- command [argument...]  run a command; its exit code is ours
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/ropeway-net/ropeway/integration/kernels"
)

const usage = `usage: kernels ensure
       kernels run [-file guest=host]... [-env name=value]... [-module name]... [-accel kvm|tcg] [-timeout 10m] -- command [argument...]`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code, err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "kernels:", err)
		code = 125 // as docker run has it: the failure is not the command's
	}
	os.Exit(code)
}

func run(ctx context.Context, args []string) (int, error) {
	switch {
	case len(args) == 1 && args[0] == "ensure":
		return 0, kernels.Ensure(ctx)
	case len(args) > 1 && args[0] == "run":
		return runJob(ctx, args[1:])
	}
	return 0, fmt.Errorf("what to do?\n%s", usage)
}

func runJob(ctx context.Context, args []string) (int, error) {
	job := kernels.Job{Files: map[string]string{}, Output: os.Stdout}
	flags := flag.NewFlagSet("kernels run", flag.ContinueOnError)
	flags.Usage = func() {
		fmt.Fprintln(os.Stderr, usage)
		flags.PrintDefaults()
	}
	flags.Func("file", "`guest=host`: put a file or directory of the host into the guest", func(s string) error {
		guest, host, ok := strings.Cut(s, "=")
		if !ok {
			return fmt.Errorf("%q is not guest=host", s)
		}
		job.Files[guest] = host
		return nil
	})
	flags.Func("env", "`name=value`: set a variable for the command", func(s string) error {
		job.Env = append(job.Env, s)
		return nil
	})
	flags.Func("module", "`name` of a kernel module to load before", func(s string) error {
		job.Modules = append(job.Modules, s)
		return nil
	})
	flags.StringVar(&job.Dir, "dir", "/", "working directory in the guest")
	flags.IntVar(&job.CPUs, "cpus", 2, "processors of the guest")
	flags.IntVar(&job.MemoryMB, "memory", 2048, "memory of the guest in MiB")
	accel := flags.String("accel", "", "kvm or tcg; empty is the fastest that works")
	timeout := flags.Duration("timeout", 10*time.Minute, "end the guest after this time")
	if err := flags.Parse(args); err != nil {
		return 0, err
	}
	job.Accelerator = kernels.Accelerator(*accel)
	job.Command = flags.Args()
	ctx, cancel := context.WithTimeout(ctx, *timeout)
	defer cancel()
	return kernels.Run(ctx, job)
}
