package scenarios

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"
)

// commands are what scripts may say, beside testscript's own.
func commands() map[string]command {
	all := map[string]command{
		"kernel-unchanged": kernelUnchanged,
		"eventually":       eventually,
	}
	for _, group := range []map[string]command{clusterCommands(), podCommands(), daemonCommands(), trafficCommands(), hostileCommands(), kernelCommands(), hostPortCommands(), bandwidthCommands(), healthCommands(), serviceCommands()} {
		for name, c := range group {
			if _, twice := all[name]; twice {
				panic("scenarios: two commands are named " + name)
			}
			all[name] = c
		}
	}
	return all
}

// patience is how long something that must happen soon is waited for. It is
// long because machines are busy; `eventually` logs how long it really took.
const patience = time.Minute

// eventually COMMAND ARGS… repeats a command until it succeeds.
func eventually(ctx context.Context, w *world, args []string) (string, error) {
	if err := want(args, "eventually COMMAND [ARGUMENT…]", 1, -1); err != nil {
		return "", err
	}
	run, err := lookUp(args[0])
	if err != nil {
		return "", err
	}
	start := time.Now()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		output, err := attempt(ctx, run, w, args[1:])
		if err == nil {
			w.logf("true after %s", time.Since(start).Round(time.Millisecond))
			return output, nil
		}
		select {
		case <-ctx.Done():
			return output, fmt.Errorf("not within %s: %w", patience, err)
		case <-tick.C:
		}
	}
}

// attempt bounds one try, so that a packet lost on a path that is being made
// does not use up the patience for all of them.
func attempt(ctx context.Context, run command, w *world, args []string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, patience/5)
	defer cancel()
	return run(ctx, w, args)
}

func lookUp(name string) (command, error) {
	all := commands()
	if c, ok := all[name]; ok {
		return c, nil
	}
	return nil, fmt.Errorf("no command %q; there are %v", name, slices.Sorted(maps.Keys(all)))
}
