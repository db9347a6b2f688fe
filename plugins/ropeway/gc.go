package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"

	"github.com/ropeway-net/ropeway/endpoint"
	"github.com/ropeway-net/ropeway/ipam"
	"github.com/ropeway-net/ropeway/statedir"
)

// gc removes the attachments of the network that the runtime does not list,
// their addresses included. It goes on after errors and reports them all.
func (p plugin) gc(ctx context.Context, args *skel.CmdArgs) (err error) {
	c, err := parseLenient(args.StdinData)
	if err != nil {
		return err
	}
	valid, err := validAttachments(args.StdinData)
	if err != nil {
		return err
	}
	log := startLog(c.StateDir, "GC", args)
	defer func() { log.finish(err) }()
	bootID, err := statedir.BootID()
	if err != nil {
		return err
	}
	errs := removeStale(ctx, c, valid, bootID, args.Path)
	errs = append(errs, collectReservations(ctx, c, valid, bootID, args))
	if err := errors.Join(errs...); err != nil {
		return failf(codeGC, "network %s: %w", c.Name, err)
	}
	return nil
}

// removeStale detaches what records name and the runtime does not.
func removeStale(ctx context.Context, c conf, valid []ipam.Attachment, bootID, cniPath string) []error {
	keep := map[ipam.Attachment]bool{}
	for _, a := range valid {
		keep[a] = true
	}
	store := endpoint.Store{Dir: c.StateDir.Endpoints()}
	records, err := store.List()
	errs := []error{err}
	for _, rec := range records {
		if rec.Network != c.Name || keep[ipam.Attachment{ContainerID: rec.ContainerID, IfName: rec.IfName}] {
			continue
		}
		if err := detach(ctx, store, rec, allocatorOf(rec, bootID, cniPath)); err != nil {
			errs = append(errs, fmt.Errorf("container %s (%s): %w", rec.ContainerID, rec.IfName, err))
		}
	}
	return errs
}

// collectReservations finds addresses that no record names.
func collectReservations(ctx context.Context, c conf, valid []ipam.Attachment, bootID string, args *skel.CmdArgs) error {
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

// validAttachments reads the runtime's list, under the specification's key or
// the one that runtimes before it used. Without a list everything would be
// removed, so its absence is an error and not an empty list.
func validAttachments(stdin []byte) ([]ipam.Attachment, error) {
	var doc struct {
		Valid *[]types.GCAttachment `json:"cni.dev/valid-attachments"`
		Older *[]types.GCAttachment `json:"cni.dev/attachments"`
	}
	if err := json.Unmarshal(stdin, &doc); err != nil {
		return nil, failf(types.ErrDecodingFailure, "list of valid attachments: %w", err)
	}
	list := doc.Valid
	if list == nil {
		list = doc.Older
	}
	if list == nil {
		return nil, failf(types.ErrInvalidNetworkConfig, "network configuration has no cni.dev/valid-attachments, and nothing is removed without; send an empty list if no attachment is valid")
	}
	valid := make([]ipam.Attachment, 0, len(*list))
	for _, a := range *list {
		valid = append(valid, ipam.Attachment{ContainerID: a.ContainerID, IfName: a.IfName})
	}
	return valid, nil
}
