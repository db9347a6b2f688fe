package main

import (
	"context"
	"errors"
	"path/filepath"

	"github.com/ropeway-net/ropeway/endpoint"
	"github.com/ropeway-net/ropeway/ipam"
	"github.com/ropeway-net/ropeway/kernel"
	"github.com/ropeway-net/ropeway/plugins/protocol"
	"github.com/ropeway-net/ropeway/statedir"
)

// del detaches a pod by its endpoint record, and without one by what can be
// derived: the name of the link and a search for reservations. It needs
// neither the namespace nor prevResult nor a valid configuration, and may be
// called again and again.
func (p plugin) del(ctx context.Context, args *protocol.Args) (err error) {
	if args.Netns != "" {
		if err = kernel.CheckPodNetns(args.Netns); errors.Is(err, kernel.ErrOwnNetns) {
			return netnsError(err)
		}
	}
	c, err := parseLenient(args.StdinData)
	if err != nil {
		return err
	}
	log := startLog(c.StateDir, "DEL", args)
	defer func() { log.finish(err) }()
	bootID, err := statedir.BootID()
	if err != nil {
		return err
	}
	store := endpoint.Store{Dir: c.StateDir.Endpoints()}
	rec, err := store.Read(args.ContainerID, args.IfName)
	switch {
	case errors.Is(err, endpoint.ErrNotFound), errors.Is(err, endpoint.ErrDamaged):
		rec = recordFromConf(c, args)
	case err != nil:
		return err
	}
	log.addresses = rec.Addresses
	retired, err := detach(ctx, rec, bootID, noting(c.StateDir, rec, allocatorOf(rec, bootID, args)), func() error {
		return store.Remove(args.ContainerID, args.IfName)
	})
	if retired {
		err = errors.Join(err, handOver(ctx, c.StateDir))
	}
	return err
}

// handOver has the daemon delete retired links, for it takes the kernel as long
// for one as for many. Where none lives, they are deleted here, and with them
// those that a killed DEL or a daemon left.
func handOver(ctx context.Context, dir statedir.Dir) error {
	if netns, err := kernel.OwnNetns(); err == nil && dir.HandOver(netns) {
		return nil
	}
	return deleteRetired(ctx)
}

func deleteRetired(ctx context.Context) error {
	if err := kernel.DeleteRetired(ctx); err != nil {
		return kernelError(err)
	}
	return nil
}

// detach removes an attachment, and says whether it has a link that remains to
// be deleted: out of use, and nobody's any more. The record goes last: until it
// is forgotten, another DEL can finish what this one could not. The link goes
// first, for the daemon opens no host ports of a pod without one, and the pod
// must not hold its address when another one gets it.
func detach(ctx context.Context, rec endpoint.Record, bootID string, source allocator, forget func() error) (retired bool, err error) {
	ports, err := portsToClose(rec, bootID)
	if err != nil {
		return false, kernelError(err)
	}
	retired, err = kernel.RetirePodLink(rec.HostLink)
	if err != nil {
		return false, kernelError(err)
	}
	limited, err := retireLimits(rec)
	if err != nil {
		return retired, kernelError(err)
	}
	retired = retired || limited
	if !ports.none() {
		if err := ports.close(ctx); err != nil {
			return retired, kernelError(err)
		}
	}
	if err := source.release(ctx); err != nil {
		return retired, err
	}
	return retired, forget()
}

// recordFromConf is what is known of an attachment that has no readable
// record: it is enough for detaching it.
func recordFromConf(c conf, args *protocol.Args) endpoint.Record {
	rec := endpoint.Record{
		ContainerID: args.ContainerID,
		IfName:      args.IfName,
		Network:     c.Name,
		Netns:       args.Netns,
		HostLink:    endpoint.HostLink(args.ContainerID, args.IfName),
		IPAM:        endpoint.IPAM{Type: c.IPAMType, Config: c.raw},
	}
	if c.IPAMType == inProcess {
		rec.IPAM = endpoint.IPAM{Type: inProcess, DataDir: statedir.DefaultNetworksDir}
		if dir, err := ipam.ParseDir(c.raw); err == nil {
			rec.IPAM.DataDir = filepath.Dir(dir)
		}
	}
	return rec
}
