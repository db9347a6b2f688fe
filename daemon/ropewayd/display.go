package main

import (
	"context"
	"encoding/json"
	"log/slog"

	"github.com/ropeway-net/ropeway/daemon/health"
	"github.com/ropeway-net/ropeway/daemon/probe"
	"github.com/ropeway-net/ropeway/daemon/reconcile"
	"github.com/ropeway-net/ropeway/daemon/status"
	"github.com/ropeway-net/ropeway/ipam"
	"github.com/ropeway-net/ropeway/statedir"
)

// display is what the daemon shows of itself: the loop's report, and what
// others have to add to it.
type display struct {
	loop   *reconcile.Loop
	config *follower
	prober *probe.Prober  // nil: peers are not probed
	server *health.Server // its Address is empty where nobody may ask
}

func newDisplay(cfg Config, settings reconcile.Config, loop *reconcile.Loop, config *follower, metrics *health.Metrics, log *slog.Logger) *display {
	d := &display{loop: loop, config: config}
	if cfg.Probe {
		d.prober = probe.New(probe.Config{
			Self: cfg.Node, Port: cfg.VXLAN.Port, Log: log, Notify: settings.Notify, Observe: metrics.Probed,
		})
	}
	d.server = &health.Server{
		Address: cfg.HealthAddress,
		View: health.View{
			Report: d.report,
			Alive:  loop.Alive,
			Addresses: func(ctx context.Context) ([]ipam.Usage, error) {
				return addressUsage(ctx, settings, loop.Status())
			},
		},
		Metrics: metrics,
		Log:     log,
	}
	return d
}

func (d *display) report() status.Report {
	r := d.loop.Status()
	r.ConfigRejected = d.config.rejected()
	if d.prober != nil {
		found := d.prober.Reachability()
		r.Reachability = &found
	}
	if p := d.server.Problem(); p != "" {
		r.Problems = append(r.Problems, p)
	}
	return r
}

// serve answers on the health address until ctx ends.
func (d *display) serve(ctx context.Context) {
	if d.server.Address != "" {
		d.server.Run(ctx)
	}
}

// passed takes over after a pass of the loop who the peers are.
func (d *display) passed(r status.Report) {
	if d.prober != nil {
		d.prober.Set(probe.Targets(r.Paths))
	}
}

// probe asks the peers until ctx ends.
func (d *display) probe(ctx context.Context) {
	if d.prober != nil {
		d.prober.Run(ctx)
	}
}

// addressUsage counts the reservations in the node's pod CIDRs.
func addressUsage(ctx context.Context, settings reconcile.Config, r status.Report) ([]ipam.Usage, error) {
	if len(r.PodCIDRs) == 0 {
		return nil, nil
	}
	netconf, err := json.Marshal(map[string]any{
		"name": settings.Conflist.Network,
		"ipam": map[string]any{"type": "ropeway-ipam", "dataDir": settings.Conflist.NetworksDir},
	})
	if err != nil {
		return nil, err
	}
	pool, err := ipam.ParseConfig(netconf, "", r.PodCIDRs)
	if err != nil {
		return nil, err
	}
	return ipam.Open(pool.Dir(), settings.BootID).Usage(ctx, pool)
}

// countRequests counts what the plugin reports until ctx ends.
func countRequests(ctx context.Context, dir statedir.Dir, metrics *health.Metrics, log *slog.Logger) {
	if err := metrics.CountRequests(ctx, dir.RequestsSocket()); err != nil {
		log.Error("CNI requests are not counted", "cause", err.Error())
	}
}
