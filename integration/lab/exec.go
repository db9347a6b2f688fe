package lab

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
)

// Exec runs a command in the namespace and returns what it wrote to stdout. The
// error of a command that fails holds what it wrote to stderr.
func (ns *Namespace) Exec(ctx context.Context, command ...string) (string, error) {
	return ns.ExecInput(ctx, "", command...)
}

// ExecInput is Exec with text on stdin.
func (ns *Namespace) ExecInput(ctx context.Context, input string, command ...string) (string, error) {
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(input), &stdout, &stderr
	// The thread that forks stays until the command has ended, see Do.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := ns.Do(cmd.Run); err != nil {
		return stdout.String(), fmt.Errorf("in namespace %s: %s: %w\n%s", ns.name, strings.Join(command, " "), err, stderr.String())
	}
	return stdout.String(), nil
}
