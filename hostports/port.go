// Package hostports decides what leads a port of the node to a pod: elements of
// maps in the one nftables table, and the chains that look there. Plugin and
// daemon build the same objects from it, so that either may be alone. It does
// no I/O.
//
// A Kubernetes service that takes the same port of the same address wins, as it
// must (CVE-2019-9946): our chains run behind kube-proxy's. Packets to anything
// but an address of the node are never touched, and an address that kube-proxy
// in IPVS mode made local for a service is no address of the node.
package hostports

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"strconv"

	"github.com/ropeway-net/ropeway/kernel"
)

// Port is a port of the node that leads to one of a pod.
type Port struct {
	// HostIP is the address of the node that it is on: zero for all of them,
	// 0.0.0.0 or :: for all of one family.
	HostIP        netip.Addr      `json:"hostIP,omitzero"`
	HostPort      uint16          `json:"hostPort"`
	ContainerPort uint16          `json:"containerPort"`
	Protocol      kernel.Protocol `json:"protocol"`
}

// String names the port on the node, as in "udp 53 on 10.0.0.1".
func (p Port) String() string {
	s := p.Protocol.String() + " " + strconv.Itoa(int(p.HostPort))
	if p.HostIP.IsValid() {
		return s + " on " + p.HostIP.String()
	}
	return s
}

// Validate says what keeps the port from being one.
func (p Port) Validate() error {
	switch {
	case p.HostPort == 0 || p.ContainerPort == 0:
		return errors.New("a port is 0")
	case p.Protocol != kernel.TCP && p.Protocol != kernel.UDP && p.Protocol != kernel.SCTP:
		return fmt.Errorf("protocol %s has no ports", p.Protocol)
	case p.HostIP.Is4In6():
		return fmt.Errorf("%s is an IPv4 address in IPv6's form; write %s", p.HostIP, p.HostIP.Unmap())
	case p.HostIP.Zone() != "" || p.HostIP.IsMulticast():
		return fmt.Errorf("%s is no address that the node alone has", p.HostIP)
	}
	return nil
}

// isOnAll says whether the port is on all addresses, of one family at least.
func (p Port) isOnAll() bool { return !p.HostIP.IsValid() || p.HostIP.IsUnspecified() }

// covers says whether the port is on addresses of the family of a.
func (p Port) covers(a netip.Addr) bool { return !p.HostIP.IsValid() || p.HostIP.Is4() == a.Is4() }

// Target is an element: where packets to a port go.
type Target struct {
	Map  string
	Key  kernel.PortKey
	Port netip.AddrPort // of the pod
}

// Targets are the elements of a pod's ports. A pod that lacks the family of a
// port has no element for it.
func Targets(ports []Port, pod []netip.Addr) []Target {
	var targets []Target
	for _, p := range ports {
		for _, a := range pod {
			if !p.covers(a) {
				continue
			}
			t := Target{
				Map:  onAllName(a),
				Key:  kernel.PortKey{Protocol: p.Protocol, Port: p.HostPort},
				Port: netip.AddrPortFrom(a, p.ContainerPort),
			}
			if !p.isOnAll() {
				t.Map, t.Key.Addr = onOneName(a), p.HostIP
			}
			targets = append(targets, t)
		}
	}
	return targets
}

// Overlaps says whether both elements are about the same packets.
func (t Target) Overlaps(o Target) bool {
	sameFamily := t.Port.Addr().Is4() == o.Port.Addr().Is4()
	oneOnAll := !t.Key.Addr.IsValid() || !o.Key.Addr.IsValid()
	return sameFamily && t.Key.Protocol == o.Key.Protocol && t.Key.Port == o.Key.Port &&
		(oneOnAll || t.Key.Addr == o.Key.Addr)
}

// String names the port on the node.
func (t Target) String() string {
	return Port{HostIP: t.Key.Addr, HostPort: t.Key.Port, Protocol: t.Key.Protocol}.String()
}

// Index finds overlaps among elements of many pods.
type Index[Owner any] map[indexKey][]entry[Owner]

type indexKey struct {
	protocol kernel.Protocol
	port     uint16
}

type entry[Owner any] struct {
	target Target
	owner  Owner
}

// Add remembers whose an element is.
func (i Index[Owner]) Add(t Target, owner Owner) {
	k := indexKey{t.Key.Protocol, t.Key.Port}
	i[k] = append(i[k], entry[Owner]{t, owner})
}

// Find returns an element that overlaps, and whose it is.
func (i Index[Owner]) Find(t Target) (Target, Owner, bool) {
	for _, e := range i[indexKey{t.Key.Protocol, t.Key.Port}] {
		if t.Overlaps(e.target) {
			return e.target, e.owner, true
		}
	}
	var none Owner
	return Target{}, none, false
}

// Duplicate returns a port that takes the very place of an earlier one of the
// list. One on a single address beside one on all is none: the former wins.
func Duplicate(ports []Port) (first, second int, found bool) {
	type place struct {
		map4 bool
		on   netip.Addr
		key  indexKey
	}
	seen := map[place]int{}
	for i, p := range ports {
		for _, a := range []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()} {
			if !p.covers(a) {
				continue
			}
			on := netip.Addr{}
			if !p.isOnAll() {
				on = p.HostIP
			}
			k := place{a.Is4(), on, indexKey{p.Protocol, p.HostPort}}
			if j, taken := seen[k]; taken {
				return j, i, true
			}
			seen[k] = i
		}
	}
	return 0, 0, false
}

// compareTargets orders elements for messages.
func compareTargets(a, b Target) int {
	return cmp.Or(cmp.Compare(a.Map, b.Map), kernel.ComparePortKeys(a.Key, b.Key))
}
