package main

import (
	"encoding/json"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"

	"github.com/ropeway-net/ropeway/kernel"
)

func (a *attach) print(link kernel.PodLink) error {
	a.log.addresses = link.Addresses
	if a.previous == nil {
		return printed(link, a.args.Netns, a.dns(), a.CNIVersion).to(a.stdout)
	}
	result, err := joined(a.previous, newResult(link, a.args.Netns, a.dns())).GetAsVersion(a.CNIVersion)
	if err != nil {
		return err
	}
	return result.PrintTo(a.stdout)
}

// printedResult is what the library makes of a result that is the first of its
// chain, for the versions of the specification from 0.3.0 on. Its types are those
// that the JSON encoder has the least to learn about.
type printedResult struct {
	CNIVersion string             `json:"cniVersion"`
	Interfaces []printedInterface `json:"interfaces"`
	IPs        []printedIP        `json:"ips"`
	Routes     []printedRoute     `json:"routes,omitempty"`
	DNS        *types.DNS         `json:"dns,omitempty"`
}

type printedInterface struct {
	Name    string `json:"name"`
	MAC     string `json:"mac"`
	MTU     int    `json:"mtu,omitempty"` // bytes, since 1.0.0
	Sandbox string `json:"sandbox,omitempty"`
}

type printedIP struct {
	Version   string `json:"version,omitempty"` // "4" or "6", before 1.0.0
	Interface int    `json:"interface"`
	Address   string `json:"address"`
	Gateway   string `json:"gateway"`
}

type printedRoute struct {
	Dst string `json:"dst"`
	GW  string `json:"gw"`
}

func printed(link kernel.PodLink, netns string, dns types.DNS, version string) printedResult {
	r := printedResult{
		CNIVersion: version,
		Interfaces: []printedInterface{
			{Name: link.HostName, MAC: kernel.GatewayMAC().String()},
			{Name: link.Name, MAC: link.MAC.String(), Sandbox: netns},
		},
	}
	early := strings.HasPrefix(version, "0.")
	if early || !dns.IsEmpty() {
		r.DNS = &dns
	}
	if !early {
		r.Interfaces[0].MTU, r.Interfaces[1].MTU = link.MTU, link.MTU
	}
	for _, a := range link.Addresses {
		ip := printedIP{Interface: 1, Address: netip.PrefixFrom(a, a.BitLen()).String(), Gateway: kernel.GatewayFor(a).String()}
		switch {
		case early && a.Is4():
			ip.Version = "4"
		case early:
			ip.Version = "6"
		}
		r.IPs = append(r.IPs, ip)
	}
	for _, dst := range link.Routes {
		r.Routes = append(r.Routes, printedRoute{Dst: dst.String(), GW: kernel.GatewayFor(dst.Addr()).String()})
	}
	return r
}

func (r printedResult) to(w io.Writer) error {
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	_, err = w.Write(append(b, '\n'))
	return err
}

// joined is a result that keeps what earlier plugins of a chain made, as the
// specification demands.
func joined(previous, own *types100.Result) *types100.Result {
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
