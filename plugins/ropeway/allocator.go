package main

import (
	"context"
	"net/netip"
	"path/filepath"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/ropeway-net/ropeway/endpoint"
	"github.com/ropeway-net/ropeway/ipam"
	"github.com/ropeway-net/ropeway/plugins/protocol"
	"github.com/ropeway-net/ropeway/statedir"
)

// allocator gives and takes back the addresses of one attachment.
type allocator interface {
	// allocate reserves all addresses or none.
	allocate(ctx context.Context) (lease, error)
	// release gives back what the attachment holds; nothing is no error.
	release(ctx context.Context) error
	// check makes sure that the addresses are reserved for the attachment.
	check(ctx context.Context, addrs []netip.Addr) error
	// record is how a later release finds the allocator.
	record() endpoint.IPAM
}

// lease is what an allocator gives.
type lease struct {
	Addresses []netip.Addr
	Routes    []netip.Prefix // through the gateway of their family
	DNS       types.DNS
}

// allocatorFor is the allocator that the configuration names.
func (c conf) allocatorFor(args *protocol.Args, node statedir.Node) (allocator, error) {
	if c.IPAMType != inProcess {
		return delegate{kind: c.IPAMType, netconf: c.raw, args: args}, nil
	}
	cfg, err := ipam.ParseConfig(c.raw, args.Args, node.PodCIDRs)
	if err != nil {
		return nil, err
	}
	// ADD has seen that there is neither a record nor an interface, and its
	// claim that no earlier ADD was killed between reservation and record.
	cfg.TrustUnique = true
	return &hostLocal{
		cfg: cfg, dataDir: cfg.DataDir, store: ipam.Open(cfg.Dir(), node.BootID),
		id: args.ContainerID, ifName: args.IfName,
	}, nil
}

// allocatorOf is the allocator that holds a record's addresses, whatever the
// configuration says by now.
func allocatorOf(rec endpoint.Record, bootID string, args *protocol.Args) allocator {
	if rec.IPAM.Type != inProcess {
		return delegate{kind: rec.IPAM.Type, netconf: withPresentResult(rec.IPAM.Config, args.StdinData), args: &protocol.Args{
			ContainerID: rec.ContainerID, Netns: rec.Netns, IfName: rec.IfName, Args: args.Args, Path: args.Path,
		}}
	}
	return &hostLocal{
		dataDir: rec.IPAM.DataDir, store: ipam.Open(filepath.Join(rec.IPAM.DataDir, rec.Network), bootID),
		id: rec.ContainerID, ifName: rec.IfName, held: rec.Addresses,
	}
}

// hostLocal is package ipam in this process.
type hostLocal struct {
	store      *ipam.Store
	cfg        ipam.Config // for allocate
	dataDir    string
	id, ifName string
	held       []netip.Addr // empty: not known
}

func (h *hostLocal) allocate(ctx context.Context) (lease, error) {
	given, err := h.store.Allocate(ctx, h.cfg, h.id, h.ifName)
	if err != nil {
		return lease{}, err
	}
	l := lease{DNS: h.cfg.DNS}
	for _, a := range given {
		l.Addresses = append(l.Addresses, a.Address.Addr())
	}
	for _, r := range h.cfg.Routes {
		l.Routes = append(l.Routes, r.Dst)
	}
	h.held = l.Addresses
	return l, nil
}

func (h *hostLocal) release(ctx context.Context) error {
	_, err := h.store.Release(ctx, h.id, h.ifName, h.held...)
	return err
}

func (h *hostLocal) check(ctx context.Context, addrs []netip.Addr) error {
	return h.store.Check(ctx, h.id, h.ifName, addrs)
}

func (h *hostLocal) record() endpoint.IPAM {
	return endpoint.IPAM{Type: inProcess, DataDir: h.dataDir}
}
