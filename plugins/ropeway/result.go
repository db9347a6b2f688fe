package main

import (
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"

	"github.com/ropeway-net/ropeway/jsonobject"
	"github.com/ropeway-net/ropeway/kernel"
)

func (a *attach) print(link kernel.PodLink) error {
	a.log.addresses = link.Addresses
	if a.previous == nil {
		_, err := a.stdout.Write(append(printed(link, a.args.Netns, a.dns(), a.CNIVersion), '\n'))
		return err
	}
	result, err := joined(a.previous, newResult(link, a.args.Netns, a.dns())).GetAsVersion(a.CNIVersion)
	if err != nil {
		return err
	}
	return result.PrintTo(a.stdout)
}

// printed is what the library makes of a result that is the first of its chain,
// for the versions of the specification from 0.3.0 on.
func printed(link kernel.PodLink, netns string, dns types.DNS, version string) []byte {
	early := strings.HasPrefix(version, "0.")
	return jsonobject.Write(func(w *jsonobject.Writer) {
		w.String("cniVersion", version)
		ends := []types100.Interface{
			{Name: link.HostName, Mac: kernel.GatewayMAC().String()},
			{Name: link.Name, Mac: link.MAC.String(), Sandbox: netns},
		}
		jsonobject.Objects(w, "interfaces", ends, func(w *jsonobject.Writer, end types100.Interface) {
			w.String("name", end.Name)
			w.String("mac", end.Mac)
			if !early && link.MTU != 0 {
				w.Int("mtu", int64(link.MTU))
			}
			w.NonEmpty("sandbox", end.Sandbox)
		})
		jsonobject.Objects(w, "ips", link.Addresses, func(w *jsonobject.Writer, a netip.Addr) {
			switch {
			case early && a.Is4():
				w.String("version", "4")
			case early:
				w.String("version", "6")
			}
			w.Int("interface", 1)
			w.String("address", netip.PrefixFrom(a, a.BitLen()).String())
			w.String("gateway", kernel.GatewayFor(a).String())
		})
		if len(link.Routes) > 0 {
			jsonobject.Objects(w, "routes", link.Routes, func(w *jsonobject.Writer, dst netip.Prefix) {
				w.String("dst", dst.String())
				w.String("gw", kernel.GatewayFor(dst.Addr()).String())
			})
		}
		if early || !dns.IsEmpty() {
			w.Object("dns", func(w *jsonobject.Writer) { writeDNS(w, dns) })
		}
	})
}

func writeDNS(w *jsonobject.Writer, dns types.DNS) {
	list := func(name string, entries []string) {
		if len(entries) > 0 {
			jsonobject.Strings(w, name, entries, func(s string) string { return s })
		}
	}
	list("nameservers", dns.Nameservers)
	w.NonEmpty("domain", dns.Domain)
	list("search", dns.Search)
	list("options", dns.Options)
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
