package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/ropeway-net/ropeway/daemon/reconcile"
	"github.com/ropeway-net/ropeway/daemon/status"
	"github.com/ropeway-net/ropeway/daemon/topology"
	"github.com/ropeway-net/ropeway/kernel"
	"github.com/ropeway-net/ropeway/statedir"
)

// errStateLost says that the state directory was removed, or another one put
// in its place, and with it lock and status socket.
var errStateLost = errors.New("the state directory was removed or replaced")

// heldInterval is the time between two looks at the state directory.
const heldInterval = time.Second

// serve is one life of the daemon, with one configuration and one state
// directory.
func serve(ctx context.Context, cfg Config, l *lives) (err error) {
	level, err := parseLevel(cfg.LogLevel)
	if err != nil {
		return err
	}
	settings, err := loopConfig(cfg)
	if err != nil {
		return err
	}
	lock, err := acquire(cfg.StateDir)
	if err != nil {
		return err
	}
	defer lock.release()
	log, logFile := openLog(os.Stderr, cfg.StateDir, level)
	defer logFile.Close()

	k, err := openKernel(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, k.Close()) }()
	listener, err := status.Listen(ctx, cfg.StateDir.Socket())
	if err != nil {
		return err
	}
	nodes := source(cfg, log)
	passed := l.passed(cfg, log)
	settings.Notify = nodes.notify
	var show *display
	settings.Passed = func(r status.Report) {
		passed(r)
		nodes.passed(r)
		show.passed(r)
	}
	loop := reconcile.New(settings, k, nodes, log)
	config := l.follower(cfg, log, settings.Notify)
	show = newDisplay(cfg, settings, loop, config, l.metrics, log)

	ctx, cancel := context.WithCancelCause(ctx)
	var wait sync.WaitGroup
	defer wait.Wait()
	defer cancel(nil)
	wait.Go(func() { watchLock(ctx, lock, cancel) })
	wait.Go(func() {
		if err := status.Serve(ctx, listener, show.report); err != nil {
			log.Error("status is not served any more", "cause", err.Error())
		}
	})
	wait.Go(func() { show.serve(ctx) })
	wait.Go(func() { show.probe(ctx) })
	wait.Go(func() { config.run(ctx, cancel) })
	wait.Go(func() { countRequests(ctx, cfg.StateDir, l.metrics, log) })
	wait.Go(func() { sweepLinks(ctx, cfg.StateDir, settings.Resync, log) })
	log.Info("start", "node", cfg.Node, "mode", cfg.Mode, "source", settings.SourceName, "stateDir", cfg.StateDir)
	if err := loop.Run(ctx); err != nil {
		log.Error("stop", "cause", err.Error())
		return err
	}
	return endOfLife(ctx, log, cfg)
}

// endOfLife says why the loop was told to end: nil when the process shall.
func endOfLife(ctx context.Context, log *slog.Logger, cfg Config) error {
	var changed configChanged
	switch cause := context.Cause(ctx); {
	case errors.Is(cause, errStateLost):
		log.Error("start again", "cause", errStateLost.Error(), "stateDir", cfg.StateDir)
		return errStateLost
	case errors.As(cause, &changed):
		return changed
	}
	log.Info("stop: paths and pods stay as they are")
	return nil
}

// watchLock ends the daemon's work when its lock is no longer the one that
// others would take.
func watchLock(ctx context.Context, lock *lock, end context.CancelCauseFunc) {
	ticker := time.NewTicker(heldInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			if !lock.held() {
				end(errStateLost)
				return
			}
		}
	}
}

// printPlan prints what the daemon would do, and writes nothing anywhere.
func printPlan(ctx context.Context, cfg Config, k kernel.Kernel, stdout, stderr io.Writer) error {
	settings, err := loopConfig(cfg)
	if err != nil {
		return err
	}
	nodes, err := source(cfg, slog.New(slog.DiscardHandler)).load(ctx)
	if err != nil {
		return err
	}
	d, err := reconcile.Decide(ctx, settings, k, nodes)
	if err != nil {
		return err
	}
	for _, p := range d.Result.Paths {
		fmt.Fprintf(stderr, "# node %s, pods %s: %s, %s\n", p.Peer, p.PodCIDR, p.Via, p.Reason)
	}
	for _, p := range d.Problems {
		fmt.Fprintf(stderr, "# problem: %v\n", p)
	}
	if d.Plan.Empty() {
		fmt.Fprintln(stderr, "# nothing to do: the kernel holds what it should")
	}
	_, err = io.WriteString(stdout, d.Plan.String())
	return err
}

// cleanup removes every trace. It runs only while no daemon does, which would
// put everything back.
func cleanup(ctx context.Context, cfg Config, pods reconcile.Pods) error {
	settings, err := loopConfig(cfg)
	if err != nil {
		return err
	}
	lock, err := acquire(cfg.StateDir)
	if err != nil {
		return err
	}
	k, err := openKernel(ctx, cfg)
	if err != nil {
		lock.release()
		return err
	}
	defer k.Close()
	if err := errors.Join(kernel.DeleteRetired(ctx), reconcile.Cleanup(ctx, settings, k, pods)); err != nil {
		lock.release()
		return privilege(err)
	}
	lock.remove()
	return nil
}

// openKernel opens the kernel and reads it once, so that a missing privilege
// is told at start and in words.
func openKernel(ctx context.Context, cfg Config) (kernel.Kernel, error) {
	k, err := kernel.Open(kernel.SysctlsIn(cfg.ProcSys))
	if err != nil {
		return nil, privilege(err)
	}
	if _, err := k.Snapshot(ctx); err != nil {
		return nil, errors.Join(privilege(err), k.Close())
	}
	return k, nil
}

func privilege(err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%w: ropewayd needs the capability CAP_NET_ADMIN and a /proc/sys/net that it may write (see procSys); run it as root or grant that", err)
	}
	return err
}

// loopConfig translates the configuration file.
func loopConfig(cfg Config) (reconcile.Config, error) {
	boot, err := statedir.BootID()
	if err != nil {
		return reconcile.Config{}, err
	}
	resync, err := cfg.resync()
	if err != nil {
		return reconcile.Config{}, err
	}
	rules, err := cfg.addressRules()
	if err != nil {
		return reconcile.Config{}, err
	}
	return reconcile.Config{
		Node: cfg.Node,
		Topology: topology.Config{
			Mode:       cfg.Mode,
			MTU:        cfg.MTU,
			VNI:        cfg.VXLAN.VNI,
			Port:       cfg.VXLAN.Port,
			Masquerade: cfg.Masquerade,

			ChecksumOffload: cfg.VXLAN.ChecksumOffload,
		},
		NodeAddress: rules,
		SourceName:  sourceName(cfg),
		StateDir:    cfg.StateDir,
		BootID:      boot,
		Conflist: reconcile.Conflist{
			Dir:         cfg.CNIConfDir,
			Network:     cfg.Network,
			StateDir:    cfg.StateDir,
			NetworksDir: cfg.NetworksDir,
		},
		Resync: resync,
	}, nil
}
