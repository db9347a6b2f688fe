package topology

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/ropeway-net/ropeway/kernel"
)

// uplink is one of the node's own addresses and the interface that holds it.
type uplink struct {
	addr  netip.Addr
	iface kernel.Interface
}

// onLink returns the prefix of the uplink's interface in which a lies.
func (u uplink) onLink(a netip.Addr) (netip.Prefix, bool) {
	for _, p := range u.iface.Addresses {
		if m := p.Masked(); m.Contains(a) && m.Bits() < a.BitLen() {
			return m, true
		}
	}
	return netip.Prefix{}, false
}

// underlay is what Ropeway finds and does not own: the node's addresses on
// the network and every prefix that its interfaces are attached to, links that
// hold addresses of services left out.
type underlay struct {
	primary  uplink
	byFamily map[family]uplink
	all      []kernel.Interface
}

// overlapping returns an interface prefix that shares addresses with p.
func (u underlay) overlapping(p netip.Prefix) (iface string, prefix netip.Prefix, found bool) {
	for _, i := range u.all {
		for _, a := range i.Addresses {
			if a.Addr().IsLoopback() {
				continue
			}
			if m := a.Masked(); m.Overlaps(p) {
				return i.Name, m, true
			}
		}
	}
	return "", netip.Prefix{}, false
}

// findUnderlay looks up the interfaces of the node's addresses. Without the
// primary one there is nothing to build on.
func findUnderlay(in Input) (underlay, []error, error) {
	u := underlay{byFamily: map[family]uplink{}}
	for _, i := range in.Interfaces {
		if !isServiceLink(i.Name) {
			u.all = append(u.all, i)
		}
	}
	if len(in.Self.Addresses) == 0 {
		return u, nil, fmt.Errorf("node %s has no address; give it the address by which the other nodes reach it", in.Self.Name)
	}
	var problems []error
	for n, addr := range in.Self.Addresses {
		iface, ok := holding(u.all, addr)
		if !ok {
			err := fmt.Errorf("address %s of node %s is on no interface of this machine; correct the node's addresses or configure the interface", addr, in.Self.Name)
			if n == 0 {
				return u, nil, err
			}
			problems = append(problems, err)
			continue
		}
		link := uplink{addr: addr, iface: iface}
		if n == 0 {
			u.primary = link
		}
		if _, have := u.byFamily[familyOf(addr)]; !have {
			u.byFamily[familyOf(addr)] = link
		}
	}
	return u, problems, nil
}

// holding returns the interface with an address; one that holds addresses of
// services only if there is no other.
func holding(interfaces []kernel.Interface, addr netip.Addr) (found kernel.Interface, ok bool) {
	for _, i := range interfaces {
		for _, p := range i.Addresses {
			if p.Addr() != addr {
				continue
			}
			if !isServiceLink(i.Name) {
				return i, true
			}
			found, ok = i, true
		}
	}
	return found, ok
}

// isServiceLink says whether a device makes addresses of services local: that
// of kube-proxy in IPVS mode, or that of the DNS cache on each node. Such
// addresses say nothing about the network, and who may write a service has a
// say in them: an external IP could otherwise be a node's address or forbid its
// pod CIDR.
func isServiceLink(name string) bool { return name == kernel.ServiceLink || name == "nodelocaldns" }

// isOwn says whether a link is Ropeway's: such a link never is underlay, or
// the tunnel's own address would forbid the pod CIDR it belongs to.
func isOwn(link string) bool {
	return strings.HasPrefix(link, kernel.TunnelPrefix) || strings.HasPrefix(link, kernel.PodLinkPrefix)
}
