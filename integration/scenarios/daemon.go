package scenarios

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/ropeway-net/ropeway/integration/lab"
)

func daemonCommands() map[string]command {
	return map[string]command{
		"daemon-start": daemonStart, "daemon-stop": daemonStop, "daemon-kill": daemonKill, "second-daemon": secondDaemon,
		"status": status, "status-says": statusSays, "status-says-not": statusSaysNot, "logged": logged,
		"on": on, "cleanup": cleanup,
	}
}

// daemon-start NODE…: started, and ready.
func daemonStart(ctx context.Context, w *world, args []string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*patience)
	defer cancel()
	return "", w.eachNode(args, func(n *lab.Node) error {
		if err := n.StartDaemon(ctx); err != nil {
			return err
		}
		return n.WaitReady(ctx)
	})
}

// daemon-stop NODE…: asked to end, and ended.
func daemonStop(ctx context.Context, w *world, args []string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return "", w.eachNode(args, func(n *lab.Node) error { return n.StopDaemon(ctx) })
}

// daemon-kill NODE…: the daemon gets SIGKILL.
func daemonKill(_ context.Context, w *world, args []string) (string, error) {
	return "", w.eachNode(args, func(n *lab.Node) error { return n.Kill9() })
}

// second-daemon NODE: another daemon with the same configuration; its outcome
// is the command's.
func secondDaemon(ctx context.Context, w *world, args []string) (string, error) {
	if err := want(args, "second-daemon NODE", 1, 1); err != nil {
		return "", err
	}
	n, err := w.node(args[0])
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return n.Exec(ctx, w.lab.Options().BinDir+"/ropewayd", "run", "--config", n.ConfigFile())
}

// status NODE: what the daemon says about itself, a line per path.
func status(ctx context.Context, w *world, args []string) (string, error) {
	if err := want(args, "status NODE", 1, 1); err != nil {
		return "", err
	}
	n, err := w.node(args[0])
	if err != nil {
		return "", err
	}
	s, err := n.Status(ctx)
	if err != nil {
		return "", err
	}
	text := fmt.Sprintf("node %s mode %s ready %t %s\n", s.Node, s.Mode, s.Ready, s.Reason)
	for _, path := range s.Paths {
		text += fmt.Sprintf("%s %s %s %s\n", path.Peer, path.PodCIDR, path.Via, path.Reason)
	}
	return text, nil
}

func statusText(ctx context.Context, n *lab.Node) (string, error) {
	report, err := n.Status(ctx)
	if err != nil {
		return "", err
	}
	b, err := json.MarshalIndent(report, "", "  ")
	return string(b), err
}

// statusMatches looks for a pattern in the whole JSON status.
func statusMatches(ctx context.Context, w *world, args []string) (text string, found bool, err error) {
	if err = want(args, "status-says[-not] NODE PATTERN", 2, 2); err != nil {
		return "", false, err
	}
	pattern, err := regexp.Compile(args[1])
	if err != nil {
		return "", false, err
	}
	n, err := w.node(args[0])
	if err != nil {
		return "", false, err
	}
	text, err = statusText(ctx, n)
	return text, pattern.MatchString(text), err
}

// status-says NODE PATTERN: the daemon's status matches a regular expression.
func statusSays(ctx context.Context, w *world, args []string) (string, error) {
	text, found, err := statusMatches(ctx, w, args)
	if err == nil && !found {
		err = fmt.Errorf("the status does not say %q:\n%s", args[1], text)
	}
	return text, err
}

// status-says-not NODE PATTERN: it does not.
func statusSaysNot(ctx context.Context, w *world, args []string) (string, error) {
	text, found, err := statusMatches(ctx, w, args)
	if err == nil && found {
		err = fmt.Errorf("the status says %q:\n%s", args[1], text)
	}
	return text, err
}

// logged NODE TEXT: the daemon's log holds it.
func logged(_ context.Context, w *world, args []string) (string, error) {
	if err := want(args, "logged NODE TEXT", 2, 2); err != nil {
		return "", err
	}
	n, err := w.node(args[0])
	if err != nil {
		return "", err
	}
	if log := n.Log(); !strings.Contains(log, args[1]) {
		return "", fmt.Errorf("the log does not hold %q:\n%s", args[1], log)
	}
	return "", nil
}

// on HOST COMMAND…: a command in the namespace of a node, a pod or the world.
func on(ctx context.Context, w *world, args []string) (string, error) {
	if err := want(args, "on HOST COMMAND…", 2, -1); err != nil {
		return "", err
	}
	h, err := w.host(args[0])
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	command := args[1:]
	for i, word := range command {
		if strings.HasSuffix(word, ".sh") {
			command[i] = w.mkAbs(word)
		}
	}
	return h.Exec(ctx, command...)
}

// cleanup NODE: the daemon ends and `ropewayd cleanup` removes every trace.
func cleanup(ctx context.Context, w *world, args []string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var output string
	err := w.eachNode(args, func(n *lab.Node) error {
		if err := n.StopDaemon(ctx); err != nil {
			return err
		}
		text, err := n.Cleanup(ctx)
		output += text
		return err
	})
	return output, err
}
