package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/ropeway-net/ropeway/endpoint"
	"github.com/ropeway-net/ropeway/ipam"
	"github.com/ropeway-net/ropeway/plugins/protocol"
	"github.com/ropeway-net/ropeway/statedir"
)

// gc removes the attachments of the network that the runtime does not list,
// their addresses included. It goes on after errors and reports them all.
func (p plugin) gc(ctx context.Context, args *protocol.Args) (err error) {
	c, err := parseLenient(args.StdinData)
	if err != nil {
		return err
	}
	valid, err := protocol.ValidAttachments(args.StdinData)
	if err != nil {
		return err
	}
	log := startLog(c.StateDir, "GC", args)
	defer func() { log.finish(err) }()
	bootID, err := statedir.BootID()
	if err != nil {
		return err
	}
	errs := removeStale(ctx, c, valid, bootID, args)
	errs = append(errs, removeOrphans(ctx, c, valid, bootID), collectReservations(ctx, c, valid, bootID, args), deleteRetired(ctx))
	if err := errors.Join(errs...); err != nil {
		return failf(codeGC, "network %s: %w", c.Name, err)
	}
	return nil
}

// removeStale detaches what records name and the runtime does not.
func removeStale(ctx context.Context, c conf, valid []ipam.Attachment, bootID string, args *protocol.Args) []error {
	keep := map[ipam.Attachment]bool{}
	for _, a := range valid {
		keep[a] = true
	}
	store := endpoint.Store{Dir: c.StateDir.Endpoints()}
	records, _ := store.List() // what cannot be read removeOrphans sees to
	unfinished, err := store.Unfinished()
	errs := []error{err}
	for _, rec := range append(records, unfinished...) {
		if rec.Network != c.Name || keep[ipam.Attachment{ContainerID: rec.ContainerID, IfName: rec.IfName}] {
			continue
		}
		forget := func() error { return store.Remove(rec.ContainerID, rec.IfName) }
		if _, err := detach(ctx, rec, bootID, noting(c.StateDir, rec, allocatorOf(rec, bootID, args)), forget); err != nil {
			errs = append(errs, fmt.Errorf("container %s (%s): %w", rec.ContainerID, rec.IfName, err))
		}
	}
	return errs
}

// collectReservations finds addresses that no record names.
func collectReservations(ctx context.Context, c conf, valid []ipam.Attachment, bootID string, args *protocol.Args) error {
	if c.IPAMType != inProcess {
		_, err := delegate{kind: c.IPAMType, netconf: c.raw, args: args}.run(ctx, "GC")
		return err
	}
	dir, err := ipam.ParseDir(c.raw)
	if err != nil {
		return err
	}
	_, err = ipam.Open(dir, bootID).GC(ctx, valid)
	return err
}
