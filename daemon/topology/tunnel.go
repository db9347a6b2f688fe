package topology

import (
	"crypto/sha256"
	"encoding/base32"
	"fmt"
	"math"
	"net/netip"
	"strings"

	"github.com/ropeway-net/ropeway/kernel"
)

// Bytes that an encapsulation adds to a packet.
const (
	overheadVXLAN4 = 50 // IPv4 20, UDP 8, VXLAN 8, Ethernet 14
	overheadVXLAN6 = 70
	overheadIPv4   = 20 // ipip, sit
	overheadIPv6   = 40 // ip6tnl, without encapsulation limit option
)

const (
	minMTU     = 576  // smaller packets than any IPv4 host must take are no use to pods
	minMTUIPv6 = 1280 // RFC 8200, section 5: IPv6 does not work on smaller links
)

// tunnel carries the pods of one family; both families may share a device.
type tunnel struct {
	via     Via
	link    kernel.Link
	local   netip.Addr // outer source
	address netip.Addr // own, of this family
}

// tunnels are the node's tunnels by family of the pods. There are none in
// direct mode, and none of a family that the node's pods do not have.
type tunnels map[family]tunnel

// uses says which encapsulation the mode has for peers that need one.
func (m Mode) uses() kernel.LinkKind {
	switch m {
	case VXLAN, VXLANCrossSubnet:
		return kernel.VXLAN
	case IPIP, IPIPCrossSubnet:
		return kernel.IPIP
	default:
		return ""
	}
}

// prefersDirect says whether peers on the same subnet are reached without
// encapsulation.
func (m Mode) prefersDirect() bool {
	return m == VXLANCrossSubnet || m == IPIPCrossSubnet || m == Direct
}

// planTunnels chooses devices and MTUs. The pods' MTU is the smallest of the
// paths that they may take.
func planTunnels(in Input, under underlay) (tunnels, int, []error, error) {
	limit := math.MaxInt
	if in.Config.MTU != 0 {
		limit = in.Config.MTU
	}
	podMTU, fits := limit, math.MaxInt
	if in.Config.Mode.prefersDirect() {
		for _, u := range under.byFamily {
			fits = min(fits, u.iface.MTU)
		}
	}
	out := tunnels{}
	for _, own := range in.Self.PodCIDRs {
		pods := familyOf(own.Addr())
		link, via, overhead := device(in.Config, under.primary.addr, pods)
		if link.Name == "" {
			continue
		}
		inner := under.primary.iface.MTU - overhead
		link.MTU = min(limit, inner)
		fits = min(fits, inner)
		address, _ := TunnelAddress(own)
		out[pods] = tunnel{via: via, link: link, local: under.primary.addr, address: address}
	}
	podMTU = min(podMTU, fits)
	var problems []error
	if in.Config.MTU > fits {
		problems = append(problems, fmt.Errorf("mtu %d of the configuration does not fit into mode %s over %s, %d is used; set mtu to at most %d or leave it out",
			in.Config.MTU, in.Config.Mode, under.primary.iface.Name, fits, fits))
	}
	return out, podMTU, problems, checkMTU(in, under, podMTU)
}

func checkMTU(in Input, under underlay, podMTU int) error {
	for _, own := range in.Self.PodCIDRs {
		need, family := minMTU, "pods"
		if own.Addr().Is6() {
			need, family = minMTUIPv6, "IPv6 pods"
		}
		if podMTU < need {
			return fmt.Errorf("MTU %d for pods in mode %s over %s (MTU %d) is too small: %s need %d; raise the MTU of %s, or the mtu setting",
				podMTU, in.Config.Mode, under.primary.iface.Name, under.primary.iface.MTU, family, need, under.primary.iface.Name)
		}
	}
	return nil
}

// device describes the tunnel device for pods of one family over an underlay
// of the same or the other one.
func device(cfg Config, local netip.Addr, pods family) (kernel.Link, Via, int) {
	link := kernel.Link{Local: local, Up: true}
	switch {
	case cfg.Mode.uses() == kernel.VXLAN:
		link.Name, link.Kind = kernel.VXLANLink, kernel.VXLAN
		link.MAC, link.VNI, link.Port = vtepMAC(local), cfg.VNI, cfg.Port
		if local.Is4() {
			return link, ViaVXLAN, overheadVXLAN4
		}
		return link, ViaVXLAN, overheadVXLAN6
	case cfg.Mode.uses() == "":
		return kernel.Link{}, ViaDirect, 0
	case local.Is6():
		link.Name, link.Kind, link.Local = kernel.IP6TnlLink, kernel.IP6Tnl, netip.Addr{}
		return link, ViaIP6Tnl, overheadIPv6
	case pods == ipv4:
		link.Name, link.Kind = kernel.IPIPLink, kernel.IPIP
		return link, ViaIPIP, overheadIPv4
	default:
		link.Name, link.Kind = kernel.SITLink, kernel.SIT
		return link, ViaSIT, overheadIPv4
	}
}

// linkTo is the device that leads to one peer alone. A sit device keeps the
// outer route of its last packet and gives it to the next one, whatever peer
// that is for: with some peers on the same subnet and others behind a router,
// a device for all of them would send to the wrong next hop. The shared one
// holds the node's address in the tunnel.
func (t tunnel) linkTo(remote netip.Addr) kernel.Link {
	link := t.link
	if t.via == ViaSIT {
		link.Name, link.Remote = sitLink(remote), remote
	}
	return link
}

// sitLink encodes an IPv4 address in the seven characters that a link name has
// left.
func sitLink(remote netip.Addr) string {
	b := remote.As4()
	encoding := base32.HexEncoding.WithPadding(base32.NoPadding)
	return kernel.TunnelPrefix + strings.ToLower(encoding.EncodeToString(b[:]))
}

// addTo puts the devices and their addresses into the state.
func (t tunnels) addTo(s *kernel.State) {
	for _, tun := range t {
		s.Links[tun.link.Name] = tun.link
		s.Addresses[kernel.Address{Link: tun.link.Name, Prefix: whole(tun.address)}] = struct{}{}
	}
}

// TunnelAddress is the address that a node's tunnel device holds: the first
// usable one of its pod CIDR, which no pod ever gets.
func TunnelAddress(podCIDR netip.Prefix) (netip.Addr, bool) {
	if podCIDR.Bits() > podCIDR.Addr().BitLen()-2 {
		return netip.Addr{}, false
	}
	return podCIDR.Addr().Next(), true
}

// vtepMAC derives a node's tunnel MAC from its primary address, so that the
// address is all that a peer has to know.
func vtepMAC(primary netip.Addr) kernel.MAC {
	sum := sha256.Sum256([]byte("ropeway vtep " + primary.String()))
	return kernel.LocallyAdministered(sum[:])
}

// linkLocal is the next hop of IPv6 routes over VXLAN. The kernel takes a
// link-local gateway as it is; any other it looks up although the route is
// onlink, and refuses when some route leads there through another device.
func linkLocal(vtep kernel.MAC) netip.Addr {
	return netip.AddrFrom16([16]byte{0xfe, 0x80, 8: vtep[0] ^ 2, 9: vtep[1], 10: vtep[2], 11: 0xff, 12: 0xfe, 13: vtep[3], 14: vtep[4], 15: vtep[5]})
}
