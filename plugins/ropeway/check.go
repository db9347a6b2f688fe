package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"
	"github.com/containernetworking/cni/pkg/types/create"

	"github.com/ropeway-net/ropeway/endpoint"
	"github.com/ropeway-net/ropeway/ipam"
	"github.com/ropeway-net/ropeway/kernel"
	"github.com/ropeway-net/ropeway/plugins/protocol"
	"github.com/ropeway-net/ropeway/statedir"
)

// check compares record, reservation and both ends of the link with what ADD
// made and prevResult says, and names every object that differs.
func (p plugin) check(ctx context.Context, args *protocol.Args) error {
	netns, err := kernel.OpenPodNetns(args.Netns)
	if err != nil {
		return netnsError(err)
	}
	defer netns.Close()
	c, err := parseConf(args.StdinData, args.Args)
	if err != nil {
		return err
	}
	previous, err := c.previousResult()
	if err != nil {
		return err
	}
	bootID, err := statedir.BootID()
	if err != nil {
		return err
	}
	rec, err := endpoint.Store{Dir: c.StateDir.Endpoints()}.Read(args.ContainerID, args.IfName)
	if errors.Is(err, endpoint.ErrNotFound) || errors.Is(err, endpoint.ErrDamaged) {
		return failf(codeDiffers, "%w; restart the pod", err)
	}
	if err != nil {
		return err
	}
	if rec.BootID != bootID {
		return failf(codeDiffers, "endpoint record is of an earlier boot; restart the pod")
	}
	err = c.checkerOf(rec, bootID, args).check(ctx, rec.Addresses)
	if err != nil && !errors.Is(err, ipam.ErrMissing) {
		return err
	}
	link := linkOf(rec)
	link.PodAsks = c.MAC != (kernel.MAC{}) // which tuning sets, too
	differs := errors.Join(err, takeOver(previous, &link), netns.Check(link), checkHostPorts(ctx, rec), checkBandwidth(ctx, rec))
	if differs != nil {
		return failf(codeDiffers, "%w; restart the pod", differs)
	}
	return nil
}

// checkerOf is the allocator of the record. Another plugin is asked with the
// configuration of now where that names it, since prevResult is in there.
func (c conf) checkerOf(rec endpoint.Record, bootID string, args *protocol.Args) allocator {
	if rec.IPAM.Type == c.IPAMType && c.IPAMType != inProcess {
		return delegate{kind: c.IPAMType, netconf: c.raw, args: args}
	}
	return allocatorOf(rec, bootID, args)
}

func (c conf) previousResult() (*types100.Result, error) {
	result, err := c.chained()
	if err == nil && result == nil {
		err = failf(types.ErrInvalidNetworkConfig, "network configuration has no prevResult, which CHECK compares with; the runtime must pass the result of ADD")
	}
	return result, err
}

// chained is prevResult; nil when there is none.
func (c conf) chained() (*types100.Result, error) {
	if len(c.PrevResult) == 0 || string(c.PrevResult) == "null" {
		return nil, nil
	}
	if err := protocol.RefuseNulls(c.PrevResult); err != nil {
		return nil, failf(types.ErrDecodingFailure, "prevResult: %w; the runtime must pass what an earlier plugin printed", err)
	}
	raw, err := create.Create(c.CNIVersion, c.PrevResult)
	if err != nil {
		return nil, failf(types.ErrDecodingFailure, "prevResult: %w; the runtime must pass what an earlier plugin printed", err)
	}
	result, err := types100.NewResultFromResult(raw)
	if err != nil {
		return nil, failf(types.ErrDecodingFailure, "prevResult: %w; the runtime must pass what an earlier plugin printed", err)
	}
	return result, nil
}

// takeOver compares prevResult with the link of the record and takes over
// what a later plugin of the chain may rightly have changed: routes. The MAC address
// is in the node's neighbour entries, and so no plugin may change it.
func takeOver(previous *types100.Result, link *kernel.PodLink) error {
	var differs []error
	if err := takeOverInterface(previous, link); err != nil {
		differs = append(differs, err)
	}
	var addresses []netip.Addr
	for _, ip := range previous.IPs {
		addresses = append(addresses, addrOf(ip.Address.IP))
	}
	for _, a := range link.Addresses {
		if !slices.Contains(addresses, a) {
			differs = append(differs, fmt.Errorf("address %s of the endpoint record is not in prevResult", a))
		}
	}
	for _, r := range previous.Routes {
		dst, err := prefixOf(r.Dst)
		if err != nil {
			differs = append(differs, fmt.Errorf("prevResult: %w", err))
			continue
		}
		if addrOf(r.GW) == kernel.GatewayFor(dst.Addr()) {
			link.Routes = append(link.Routes, dst)
		}
	}
	return errors.Join(differs...)
}

func takeOverInterface(previous *types100.Result, link *kernel.PodLink) error {
	for _, i := range previous.Interfaces {
		if i.Name != link.Name || i.Sandbox == "" {
			continue
		}
		if i.Mac == "" {
			return nil
		}
		mac, err := kernel.ParseMAC(i.Mac)
		if err != nil {
			return fmt.Errorf("prevResult, interface %s: %w", i.Name, err)
		}
		if mac != link.MAC {
			return fmt.Errorf("prevResult gives interface %s MAC address %s, and the node sends to %s: a later plugin of the chain has changed it, and nothing arrives any more; have ropeway set it, by the capability mac or args.cni.mac", i.Name, mac, link.MAC)
		}
		return nil
	}
	return fmt.Errorf("interface %s of the endpoint record is not in prevResult", link.Name)
}
