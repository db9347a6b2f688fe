package main

import (
	"context"
	"io"
	"time"

	"github.com/ropeway-net/ropeway/plugins/protocol"
)

// Deadlines of the verbs. STATUS is asked every few seconds by runtimes that
// wait for it without a deadline of their own.
const (
	attachDeadline = 60 * time.Second
	undoDeadline   = 30 * time.Second
	checkDeadline  = 30 * time.Second
	statusDeadline = 5 * time.Second
)

// plugin is one run of the plugin.
type plugin struct {
	stdout io.Writer
	// beforeStep may fail a step of ADD by its name; nil outside tests.
	beforeStep func(step string) error
}

func (p plugin) funcs() protocol.Verbs {
	return protocol.Verbs{
		Add:    reported("ADD", withDeadline(attachDeadline, "attach", p.add)),
		Del:    reported("DEL", withDeadline(attachDeadline, "detach", p.del)),
		Check:  reported("CHECK", withDeadline(checkDeadline, "check", p.check)),
		Status: reported("STATUS", withDeadline(statusDeadline, "status", p.status)),
		GC:     reported("GC", withDeadline(attachDeadline, "collect garbage", p.gc)),
	}
}

// withDeadline runs a verb until its deadline, and gives its error the form of the
// CNI specification. A signal ends the process where it is, as SIGKILL does, for
// which DEL is prepared: to catch one costs each call two threads.
func withDeadline(d time.Duration, doing string, verb func(context.Context, *protocol.Args) error) func(*protocol.Args) error {
	return func(args *protocol.Args) error {
		ctx, cancel := context.WithTimeout(context.Background(), d)
		defer cancel()
		if err := verb(ctx, args); err != nil {
			return cniError(doing+" "+subject(args), err)
		}
		return nil
	}
}

// subject names what a verb is about, for the beginning of its errors.
func subject(args *protocol.Args) string {
	if args.ContainerID == "" {
		if c, err := parseLenient(args.StdinData); err == nil {
			return "network " + c.Name
		}
		return "network"
	}
	name := "container " + args.ContainerID + " (" + args.IfName + ")"
	if pairs, err := parseArgs(args.Args); err == nil {
		if pod := podOf(pairs); pod.Name != "" {
			name = "pod " + pod.Namespace + "/" + pod.Name + ", " + name
		}
	}
	return name
}
