package main

import (
	"context"
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
				return reconcile.Usage(ctx, settings, loop.Status().PodCIDRs)
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

// countRequests counts what the plugin reports until ctx ends.
func countRequests(ctx context.Context, dir statedir.Dir, metrics *health.Metrics, log *slog.Logger) {
	if err := metrics.CountRequests(ctx, dir.RequestsSocket()); err != nil {
		log.Error("CNI requests are not counted", "cause", err.Error())
	}
}
