package kernel

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// SysctlSet writes a sysctl; Key is the path below /proc/sys.
type SysctlSet struct {
	Key, Value string
}

// LinkAdd makes a tunnel device.
type LinkAdd struct {
	Link Link
}

// LinkSet changes what can be changed on a tunnel device that exists.
type LinkSet struct {
	Name  string
	MTU   int   // bytes; 0 leaves it
	Admin Admin // empty leaves it
	// TxChecksum switches checksum offload; empty leaves it.
	TxChecksum Offload
}

// Admin is the administrative state of a link.
type Admin string

// The administrative states.
const (
	AdminUp   Admin = "up"
	AdminDown Admin = "down"
)

// LinkDel deletes a tunnel device or, by the name of its host end, a pod link,
// with everything that lives on it.
type LinkDel struct {
	Name string
}

// AddressAdd gives a tunnel device an address.
type AddressAdd struct {
	Address Address
}

// AddressDel takes an address from a tunnel device.
type AddressDel struct {
	Address Address
}

// RouteAdd makes a route; one of somebody else's to the same destination makes
// it fail.
type RouteAdd struct {
	RouteKey
	Route
}

// RouteReplace changes a route of ours, or makes it.
type RouteReplace struct {
	RouteKey
	Route
}

// RouteDel deletes a route of ours, whatever its type and next hop. With a
// Link it spares a route to the same destination that has meanwhile been made
// through another link.
type RouteDel struct {
	RouteKey
	Link string // empty: through any link or none
}

// NeighbourReplace makes or changes a permanent neighbour entry.
type NeighbourReplace struct {
	NeighbourKey
	MAC MAC
}

// NeighbourDel deletes a neighbour entry.
type NeighbourDel struct {
	NeighbourKey
}

// FDBReplace makes or changes the forwarding entry of a MAC on a VXLAN device.
// A unicast MAC has one destination; the kernel ignores attempts to append a
// second one.
type FDBReplace struct {
	FDBEntry
}

// FDBDel deletes a forwarding entry.
type FDBDel struct {
	FDBEntry
}

func (o SysctlSet) String() string { return "sysctl -qw " + shellWord(o.Key+"="+o.Value) }

// outerTTL is that of packets of ipip and sit devices. An inherited one would
// let the network between nodes eat packets that are to die in a pod's, and
// the default differs from kind to kind.
const (
	outerTTL  = 64
	tunnelTTL = "ttl 64"
)

// String prints addrgenmode before up: a link that is up has its fe80 address
// already.
func (o LinkAdd) String() string {
	l := o.Link
	words := []string{"ip link add name", l.Name}
	if l.Kind == VXLAN {
		words = append(words, "address", l.MAC.String())
	}
	words = append(words, "type", string(l.Kind))
	if l.Kind == VXLAN {
		words = append(words, "id", strconv.FormatUint(uint64(l.VNI), 10))
	}
	switch l.Kind {
	case VXLAN:
		words = append(words, "local", l.Local.String(), "dstport", strconv.Itoa(int(l.Port)), "nolearning")
	case IP6Tnl:
		words = append(words, "external")
	case IPIP:
		words = append(words, "local", l.Local.String(), "mode ipip", tunnelTTL)
	case SIT:
		if l.Remote.IsValid() {
			words = append(words, "remote", l.Remote.String())
		}
		words = append(words, "local", l.Local.String(), "mode ip6ip", tunnelTTL)
	}
	set := LinkSet{Name: l.Name, MTU: l.MTU, TxChecksum: l.TxChecksum}
	if set.TxChecksum == OffloadOn { // as it is made
		set.TxChecksum = ""
	}
	if l.Up {
		set.Admin = AdminUp
	}
	return strings.Join(words, " ") + "\n" +
		"ip link set dev " + l.Name + " addrgenmode none\n" +
		set.String()
}

func (o LinkSet) String() string {
	var lines []string
	if o.TxChecksum != "" {
		lines = append(lines, "ethtool -K "+o.Name+" tx-checksum-ip-generic "+string(o.TxChecksum))
	}
	s := "ip link set dev " + o.Name
	if o.MTU != 0 {
		s += " mtu " + strconv.Itoa(o.MTU)
	}
	if o.Admin != "" {
		s += " " + string(o.Admin)
	}
	if o.MTU != 0 || o.Admin != "" || o.TxChecksum == "" {
		lines = append(lines, s)
	}
	return strings.Join(lines, "\n")
}

func (o LinkDel) String() string { return "ip link del dev " + o.Name }

// String prints nodad, without which an IPv6 address would not be usable at
// once, and noprefixroute: a tunnel has no on-link prefix.
func (o AddressAdd) String() string {
	s := "ip address add " + o.Address.Prefix.String() + " dev " + o.Address.Link
	if o.Address.Prefix.Addr().Is6() {
		s += " nodad noprefixroute"
	}
	return s
}

func (o AddressDel) String() string {
	return "ip address del " + o.Address.Prefix.String() + " dev " + o.Address.Link
}

func (o RouteAdd) String() string { return routeCommand("add", o.RouteKey, o.Route) }

func (o RouteReplace) String() string { return routeCommand("replace", o.RouteKey, o.Route) }

// String prints IPv6's default metric, because without one the command would
// match routes of any metric.
func (o RouteDel) String() string {
	s := ipCommand(o.Dst) + " route del " + o.Dst.String()
	if o.Link != "" {
		s += " dev " + o.Link
	}
	s += " proto " + strconv.Itoa(RouteProtocol)
	if m := o.kernelMetric(); m != 0 {
		s += " metric " + strconv.Itoa(m)
	}
	return s
}

func (o NeighbourReplace) String() string {
	return fmt.Sprintf("ip neighbour replace %s lladdr %s dev %s nud permanent", o.IP, o.MAC, o.Link)
}

func (o NeighbourDel) String() string {
	return fmt.Sprintf("ip neighbour del %s dev %s", o.IP, o.Link)
}

func (o FDBReplace) String() string {
	return fmt.Sprintf("bridge fdb replace %s dev %s dst %s self permanent", o.MAC, o.Link, o.Dst)
}

func (o FDBDel) String() string {
	return fmt.Sprintf("bridge fdb del %s dev %s dst %s self", o.MAC, o.Link, o.Dst)
}

func routeCommand(verb string, k RouteKey, r Route) string {
	words := []string{ipCommand(k.Dst), "route", verb}
	if r.Type != Unicast {
		words = append(words, string(r.Type))
	}
	words = append(words, k.Dst.String())
	if r.Encap != (Encap{}) {
		words = append(words, "encap ip6 dst", r.Encap.Dst.String(), "src", r.Encap.Src.String())
	}
	if r.Gateway.IsValid() {
		words = append(words, "via")
		if k.Dst.Addr().Is4() && r.Gateway.Is6() {
			words = append(words, "inet6")
		}
		words = append(words, r.Gateway.String())
	}
	if r.Link != "" {
		words = append(words, "dev", r.Link)
	}
	if r.OnLink {
		words = append(words, "onlink")
	}
	if r.Type == Unicast && !r.Gateway.IsValid() && k.Dst.Addr().Is4() {
		words = append(words, "scope link")
	}
	words = append(words, "proto", strconv.Itoa(RouteProtocol))
	if r.Src.IsValid() {
		words = append(words, "src", r.Src.String())
	}
	if k.Metric != 0 {
		words = append(words, "metric", strconv.Itoa(k.Metric))
	}
	return strings.Join(words, " ")
}

// ipCommand chooses the family, which `ip route` takes for IPv4 otherwise.
func ipCommand(p netip.Prefix) string {
	if p.Addr().Is6() {
		return "ip -6"
	}
	return "ip"
}

// defaultIPv6Metric is what the kernel makes of an IPv6 route without metric.
const defaultIPv6Metric = 1024

// kernelMetric is the metric that the kernel keeps for the key.
func (k RouteKey) kernelMetric() int {
	if k.Metric == 0 && k.Dst.Addr().Is6() {
		return defaultIPv6Metric
	}
	return k.Metric
}

// shellWord quotes s where a shell would not take it as one word.
func shellWord(s string) string {
	const plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./=:,-"
	if strings.Trim(s, plain) == "" && s != "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
