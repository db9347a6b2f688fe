package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// network is a CNI network on a node, whose plugins are called as a container
// runtime calls them: one process after the other, each given the result of
// the one before.
type network struct {
	node    *node
	plugins []plugin // in the order of ADD
	// tracer is a command that runs the plugins, with its arguments; empty:
	// they are run directly.
	tracer []string
}

// plugin is an entry of a network configuration list, as it is handed over.
type plugin struct {
	path string
	conf map[string]any
}

// attachment is a pod's to a network.
type attachment struct {
	id       string
	pod      *namespace
	hostPort int             // 0: none
	result   json.RawMessage // of ADD
	failed   error           // of the last call
}

// spent is what a call of all plugins of a network took.
type spent struct {
	elapsed time.Duration
	cpu     time.Duration
}

func (n network) add(ctx context.Context, a *attachment) (spent, error) {
	a.result = nil
	var sum spent
	for _, p := range n.plugins {
		out, s, err := n.call(ctx, "ADD", p, a, a.result)
		sum.elapsed, sum.cpu = sum.elapsed+s.elapsed, sum.cpu+s.cpu
		if err != nil {
			return sum, err
		}
		a.result = out
	}
	return sum, nil
}

func (n network) check(ctx context.Context, a *attachment) (spent, error) {
	return n.all(ctx, "CHECK", n.plugins, a)
}

func (n network) del(ctx context.Context, a *attachment) (spent, error) {
	backwards := slices.Clone(n.plugins)
	slices.Reverse(backwards)
	return n.all(ctx, "DEL", backwards, a)
}

func (n network) status(ctx context.Context) (spent, error) {
	return n.all(ctx, "STATUS", n.plugins, nil)
}

func (n network) all(ctx context.Context, verb string, plugins []plugin, a *attachment) (spent, error) {
	var sum spent
	var result json.RawMessage
	if a != nil {
		result = a.result
	}
	for _, p := range plugins {
		_, s, err := n.call(ctx, verb, p, a, result)
		sum.elapsed, sum.cpu = sum.elapsed+s.elapsed, sum.cpu+s.cpu
		if err != nil {
			return sum, err
		}
	}
	return sum, nil
}

func (n network) call(ctx context.Context, verb string, p plugin, a *attachment, prev json.RawMessage) (json.RawMessage, spent, error) {
	stdin, err := p.stdin(a, prev)
	if err != nil {
		return nil, spent{}, err
	}
	run := process{path: p.path, env: environment(verb, filepath.Dir(p.path), a), stdin: stdin}
	if len(n.tracer) > 0 {
		run.args = append(slices.Clone(n.tracer[1:]), p.path)
		run.path = n.tracer[0]
	}
	done, err := n.node.exec(ctx, run)
	if err != nil {
		return nil, spent{}, fmt.Errorf("%s: %w", verb, err)
	}
	return done.stdout, spent{done.elapsed, done.cpu}, nil
}

// stdin is what the plugin reads. A port goes only to a plugin that says it
// has the capability.
func (p plugin) stdin(a *attachment, prev json.RawMessage) ([]byte, error) {
	conf := maps.Clone(p.conf)
	if len(prev) > 0 {
		conf["prevResult"] = prev
	}
	if _, able := conf["capabilities"]; able && a != nil && a.hostPort > 0 {
		conf["runtimeConfig"] = map[string]any{"portMappings": []map[string]any{
			{"hostPort": a.hostPort, "containerPort": 80, "protocol": "tcp"},
		}}
	}
	b, err := json.Marshal(conf)
	if err != nil {
		return nil, fmt.Errorf("configuration of %s after %q: %w", filepath.Base(p.path), prev, err)
	}
	return b, nil
}

func environment(verb, cniPath string, a *attachment) []string {
	env := []string{"PATH=" + os.Getenv("PATH"), "CNI_COMMAND=" + verb, "CNI_PATH=" + cniPath}
	if a == nil {
		return env
	}
	return append(env,
		"CNI_CONTAINERID="+a.id, "CNI_IFNAME="+podLink, "CNI_NETNS="+a.pod.path(),
		"CNI_ARGS=IgnoreUnknown=1;K8S_POD_NAMESPACE=bench;K8S_POD_NAME=pod;K8S_POD_INFRA_CONTAINER_ID="+a.id,
	)
}

// podLink is the name of each pod's link.
const podLink = "eth0"

// containerID has 64 digits, as containerd's have.
func containerID(n int) string {
	return fmt.Sprintf("%016x%s", n, strings.Repeat("b", 48))
}
