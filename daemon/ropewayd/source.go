package main

import (
	"context"
	"log/slog"
	"runtime"

	"github.com/ropeway-net/ropeway/daemon/cluster"
	"github.com/ropeway-net/ropeway/daemon/kubernetes"
	"github.com/ropeway-net/ropeway/daemon/status"
)

// The sources that a configuration can name.
const (
	sourceFile       = "file"
	sourceKubernetes = "kubernetes"
)

// nodeSource is where the nodes come from, and where what the daemon has to
// say goes if somebody listens there.
type nodeSource struct {
	cluster.Source
	name   string
	load   func(context.Context) ([]cluster.Node, error)
	notify func(status.Notice)
	passed func(status.Report)
}

// sourceName names the list of nodes in messages.
func sourceName(cfg Config) string { return source(cfg, slog.New(slog.DiscardHandler)).name }

func source(cfg Config, log *slog.Logger) nodeSource {
	if cfg.Source == sourceKubernetes {
		api := kubernetes.New(kubernetes.Config{
			Node: cfg.Node, Kubeconfig: cfg.Kubeconfig, Log: log,
			UserAgent: "ropewayd/" + version + " (" + runtime.GOOS + "/" + runtime.GOARCH + ")",
		})
		return nodeSource{Source: api, name: api.Name(), load: api.Load, notify: api.Notify, passed: api.Passed}
	}
	file := cluster.File{Path: cfg.NodesFile}
	return nodeSource{
		Source: file, name: "nodes file " + cfg.NodesFile,
		load:   func(context.Context) ([]cluster.Node, error) { return file.Load() },
		notify: func(status.Notice) {},
		passed: func(status.Report) {},
	}
}
