package main

import (
	"net"
	"net/netip"

	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"

	"github.com/ropeway-net/ropeway/kernel"
)

func (a *attach) print(link kernel.PodLink) error {
	a.log.addresses = link.Addresses
	result, err := newResult(link, a.args.Netns, a.dns()).GetAsVersion(a.CNIVersion)
	if err != nil {
		return err
	}
	return result.PrintTo(a.stdout)
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
