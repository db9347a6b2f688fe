package main

import (
	"net"
	"net/netip"
	"slices"

	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"

	"github.com/ropeway-net/ropeway/kernel"
)

func (a *attach) print(link kernel.PodLink) error {
	a.log.addresses = link.Addresses
	own := newResult(link, a.args.Netns, a.dns())
	result, err := joined(a.previous, own).GetAsVersion(a.CNIVersion)
	if err != nil {
		return err
	}
	return result.PrintTo(a.stdout)
}

// joined is a result that keeps what earlier plugins of a chain made, as the
// specification demands. previous is nil for the first one.
func joined(previous, own *types100.Result) *types100.Result {
	if previous == nil {
		return own
	}
	r := *own
	r.Interfaces = slices.Concat(previous.Interfaces, own.Interfaces)
	r.IPs = slices.Clone(previous.IPs)
	for _, ip := range own.IPs {
		moved := *ip
		moved.Interface = types100.Int(*ip.Interface + len(previous.Interfaces))
		r.IPs = append(r.IPs, &moved)
	}
	r.Routes = slices.Concat(previous.Routes, own.Routes)
	if r.DNS.IsEmpty() {
		r.DNS = previous.DNS
	}
	return &r
}

// newResult is what ADD says: the host end, the pod end, and what hangs on it.
func newResult(link kernel.PodLink, netns string, dns types.DNS) *types100.Result {
	r := &types100.Result{
		CNIVersion: types100.ImplementedSpecVersion,
		Interfaces: []*types100.Interface{
			{Name: link.HostName, Mac: kernel.GatewayMAC().String(), Mtu: link.MTU},
			{Name: link.Name, Mac: link.MAC.String(), Mtu: link.MTU, Sandbox: netns},
		},
		DNS: dns,
	}
	for _, a := range link.Addresses {
		r.IPs = append(r.IPs, &types100.IPConfig{
			Interface: types100.Int(1),
			Address:   ipNet(netip.PrefixFrom(a, a.BitLen())),
			Gateway:   kernel.GatewayFor(a).AsSlice(),
		})
	}
	for _, dst := range link.Routes {
		r.Routes = append(r.Routes, &types.Route{Dst: ipNet(dst), GW: kernel.GatewayFor(dst.Addr()).AsSlice()})
	}
	return r
}

func ipNet(p netip.Prefix) net.IPNet {
	return net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
