package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"

	"github.com/containernetworking/cni/pkg/ns"
	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"

	"github.com/ropeway-net/ropeway/ipam"
	"github.com/ropeway-net/ropeway/plugins/protocol"
	"github.com/ropeway-net/ropeway/statedir"
)

// plugin is the verbs, with what they need from the machine.
type plugin struct {
	bootID func() (string, error)
	stdout io.Writer
}

// add reserves addresses and prints the result. When that cannot be printed,
// they are given back.
func (p plugin) add(ctx context.Context, args *protocol.Args) error {
	if err := refuseOwnNamespace(args); err != nil {
		return err
	}
	cfg, err := p.loadConfig(args.StdinData, args.Args)
	if err != nil {
		return err
	}
	store, err := p.open(cfg.Dir())
	if err != nil {
		return err
	}
	given, err := store.Allocate(ctx, cfg, args.ContainerID, args.IfName)
	if err != nil {
		return err
	}
	if err := p.print(args.StdinData, result(cfg, given)); err != nil {
		_, undoErr := store.Release(ctx, args.ContainerID, args.IfName, addresses(given)...)
		return errors.Join(err, undoErr)
	}
	return nil
}

// del needs no more of the configuration than where the reservations are.
func (p plugin) del(ctx context.Context, args *protocol.Args) error {
	if err := refuseOwnNamespace(args); err != nil {
		return err
	}
	dir, err := ipam.ParseDir(args.StdinData)
	if err != nil {
		return err
	}
	store, err := p.open(dir)
	if err != nil {
		return err
	}
	_, err = store.Release(ctx, args.ContainerID, args.IfName)
	return err
}

// check compares prevResult with the reservations. Addresses outside of our
// ranges may come from another plugin of the chain; those inside must be
// reserved for the attachment, and one at least.
func (p plugin) check(ctx context.Context, args *protocol.Args) error {
	if err := refuseOwnNamespace(args); err != nil {
		return err
	}
	cfg, err := p.loadConfig(args.StdinData, args.Args)
	if err != nil {
		return err
	}
	previous, err := previousAddresses(args.StdinData)
	if err != nil {
		return err
	}
	store, err := p.open(cfg.Dir())
	if err != nil {
		return err
	}
	var ours []netip.Addr
	for _, a := range previous {
		for _, set := range cfg.RangeSets {
			if _, ok := set.Range(a); ok {
				ours = append(ours, a)
			}
		}
	}
	return store.Check(ctx, args.ContainerID, args.IfName, ours)
}

// status says 50 when an ADD could not be served. A configuration that is not
// valid keeps its own code: waiting does not make it better.
func (p plugin) status(ctx context.Context, args *protocol.Args) error {
	cfg, err := p.loadConfig(args.StdinData, "")
	if err != nil {
		return unavailable(err)
	}
	store, err := p.open(cfg.Dir())
	if err != nil {
		return unavailable(err)
	}
	if err := store.Ready(ctx, cfg); err != nil {
		return unavailable(err)
	}
	return nil
}

// gc releases what the runtime does not list.
func (p plugin) gc(ctx context.Context, args *protocol.Args) error {
	dir, err := ipam.ParseDir(args.StdinData)
	if err != nil {
		return err
	}
	keep, err := protocol.ValidAttachments(args.StdinData)
	if err != nil {
		return err
	}
	store, err := p.open(dir)
	if err != nil {
		return err
	}
	_, err = store.GC(ctx, keep)
	return err
}

func (p plugin) open(dir string) (*ipam.Store, error) {
	boot, err := p.bootID()
	if err != nil {
		return nil, err
	}
	return ipam.Open(dir, boot), nil
}

// refuseOwnNamespace comes before anything is done; skel would look only
// afterwards, and leave the reservation behind.
func refuseOwnNamespace(args *protocol.Args) error {
	overridden := strings.EqualFold(args.NetnsOverride, "true") || args.NetnsOverride == "1"
	if overridden || args.Netns == "" {
		return nil
	}
	own, err := ns.CheckNetNS(args.Netns)
	if err != nil {
		return err
	}
	if own {
		return types.NewError(types.ErrInvalidNetNS, fmt.Sprintf("CNI_NETNS %s is the plugin's own network namespace, not a pod's; give the pod one of its own", args.Netns), "")
	}
	return nil
}

// loadConfig asks node.json for pod CIDRs only where the configuration names
// no range, so that it works without a daemon otherwise.
func (p plugin) loadConfig(netconf []byte, cniArgs string) (ipam.Config, error) {
	cfg, err := ipam.ParseConfig(netconf, cniArgs, nil)
	if !errors.Is(err, ipam.ErrNoRange) {
		return cfg, err
	}
	state, err := ipam.ParseStateDir(netconf)
	if err != nil {
		return ipam.Config{}, err
	}
	boot, err := p.bootID()
	if err != nil {
		return ipam.Config{}, err
	}
	node, err := state.ReadNodeOf(boot)
	if errors.Is(err, statedir.ErrNoNode) {
		return ipam.Config{}, types.NewError(types.ErrTryAgainLater, fmt.Sprintf("network configuration names no range of addresses, and %v; set ipam.subnet to do without", err), "")
	}
	if err != nil {
		return ipam.Config{}, err
	}
	return ipam.ParseConfig(netconf, cniArgs, node.PodCIDRs)
}

// unavailable makes err one of STATUS, unless the configuration is to blame.
func unavailable(err error) error {
	e := ipam.CNIError(err)
	if e.Code == types.ErrInvalidNetworkConfig || e.Code == types.ErrDecodingFailure || e.Code == types.ErrUnsupportedField {
		return e
	}
	return types.NewError(types.ErrPluginNotAvailable, e.Error(), "")
}

func addresses(given []ipam.Allocation) []netip.Addr {
	addrs := make([]netip.Addr, len(given))
	for i, g := range given {
		addrs[i] = g.Address.Addr()
	}
	return addrs
}

func result(cfg ipam.Config, given []ipam.Allocation) *types100.Result {
	r := &types100.Result{CNIVersion: types100.ImplementedSpecVersion, DNS: cfg.DNS}
	for _, g := range given {
		addr := g.Address.Addr()
		r.IPs = append(r.IPs, &types100.IPConfig{
			Address: net.IPNet{IP: addr.AsSlice(), Mask: net.CIDRMask(g.Address.Bits(), addr.BitLen())},
			Gateway: g.Gateway.AsSlice(),
		})
	}
	for _, route := range cfg.Routes {
		r.Routes = append(r.Routes, route.CNI())
	}
	return r
}

// print writes the result in the version that the configuration asks for.
func (p plugin) print(netconf []byte, r *types100.Result) error {
	var conf struct {
		CNIVersion string `json:"cniVersion"`
	}
	if err := json.Unmarshal(netconf, &conf); err != nil {
		return fmt.Errorf("read cniVersion: %w", err)
	}
	versioned, err := r.GetAsVersion(conf.CNIVersion)
	if err != nil {
		return fmt.Errorf("convert result to version %s: %w", conf.CNIVersion, err)
	}
	if err := versioned.PrintTo(p.stdout); err != nil {
		return fmt.Errorf("print result: %w", err)
	}
	return nil
}

// previousAddresses reads the addresses of prevResult, of whichever version.
func previousAddresses(netconf []byte) ([]netip.Addr, error) {
	var conf struct {
		PrevResult struct {
			IPs []struct {
				Address netip.Prefix `json:"address"`
			} `json:"ips"`
		} `json:"prevResult"`
	}
	if err := json.Unmarshal(netconf, &conf); err != nil {
		return nil, types.NewError(types.ErrDecodingFailure, fmt.Sprintf("prevResult is not valid: %v; the runtime must pass the result of ADD", err), "")
	}
	var addrs []netip.Addr
	for _, ip := range conf.PrevResult.IPs {
		addrs = append(addrs, ip.Address.Addr().Unmap())
	}
	return addrs, nil
}
