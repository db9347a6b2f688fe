package topology

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"github.com/ropeway-net/ropeway/kernel"
)

// AddressRule says by which of its addresses this node is to be reached: an
// interface's name, a prefix or one address.
type AddressRule struct {
	Interface string
	Prefix    netip.Prefix // of one address: it must be on the node
}

func (r AddressRule) String() string {
	switch {
	case r.Interface != "":
		return "interface " + r.Interface
	case r.Prefix.IsSingleIP():
		return "address " + r.Prefix.Addr().String()
	default:
		return "CIDR " + r.Prefix.String()
	}
}

// interfaceName is narrower than what the kernel takes: 1 to 15 bytes.
var interfaceName = regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9_.\-@]{0,14}$`)

// ParseAddressRule reads an interface name, a CIDR or an address.
func ParseAddressRule(text string) (AddressRule, error) {
	if a, err := netip.ParseAddr(text); err == nil {
		a = a.Unmap().WithZone("")
		return AddressRule{Prefix: netip.PrefixFrom(a, a.BitLen())}, nil
	}
	if p, err := netip.ParsePrefix(text); err == nil {
		return AddressRule{Prefix: p.Masked()}, nil
	}
	if interfaceName.MatchString(text) {
		return AddressRule{Interface: text}, nil
	}
	return AddressRule{}, fmt.Errorf("%.100q is neither an interface name, nor a CIDR such as 192.168.1.0/24, nor an address", text)
}

// NodeAddress is by which addresses this node is reached and why.
type NodeAddress struct {
	Addresses []netip.Addr // at most one of each family, the first is the primary one
	Reason    string       // one clause, for people
	// Chosen says that a rule chose: the other nodes cannot know by
	// themselves.
	Chosen bool
}

// ChooseAddress applies the rules to the node's interfaces; the first that
// matches gives the primary address, and a later one may add the other family.
// Without rules the node's own list stands. The error names the rule that
// nothing matches, or the address that must not be used.
func ChooseAddress(listed []netip.Addr, interfaces []kernel.Interface, rules []AddressRule) (NodeAddress, error) {
	if len(rules) == 0 {
		return listedAddress(listed, interfaces)
	}
	choice := NodeAddress{Chosen: true}
	var reasons []string
	var objections []error
	for _, rule := range rules {
		found, err := rule.find(interfaces)
		if err != nil {
			objections = append(objections, err)
			continue
		}
		for _, u := range found {
			if slices.ContainsFunc(choice.Addresses, func(a netip.Addr) bool { return a.Is4() == u.addr.Is4() }) {
				continue
			}
			choice.Addresses = append(choice.Addresses, u.addr)
			reasons = append(reasons, fmt.Sprintf("%s on %s by nodeAddress %s", u.addr, u.iface.Name, rule))
		}
	}
	if len(choice.Addresses) == 0 {
		return NodeAddress{}, fmt.Errorf("nodeAddress matches no address of this node: %w; correct nodeAddress, or leave it out to use the node's listed addresses", errors.Join(objections...))
	}
	choice.Reason = strings.Join(reasons, ", ")
	return choice, nil
}

// listedAddress takes what the list of nodes says. An address that no
// interface holds is for the caller to judge.
func listedAddress(listed []netip.Addr, interfaces []kernel.Interface) (NodeAddress, error) {
	choice := NodeAddress{Addresses: listed}
	var reasons []string
	for _, a := range listed {
		iface, ok := holding(interfaces, a)
		if !ok {
			reasons = append(reasons, fmt.Sprintf("%s as listed, on no interface", a))
			continue
		}
		if cause := neverUnderlay(iface); cause != "" {
			return NodeAddress{}, fmt.Errorf("the node's listed address %s is on %s, %s; correct the node's address (--node-ip of kubelet), or set nodeAddress", a, iface.Name, cause)
		}
		reasons = append(reasons, fmt.Sprintf("%s on %s as listed", a, iface.Name))
	}
	choice.Reason = strings.Join(reasons, ", ")
	return choice, nil
}

// find returns the addresses that a rule matches, IPv4 first, those of the
// interface that comes first by name.
func (r AddressRule) find(interfaces []kernel.Interface) ([]uplink, error) {
	var found []uplink
	var refused []string
	for _, i := range interfaces {
		if r.Interface != "" && i.Name != r.Interface {
			continue
		}
		for _, p := range i.Addresses {
			a := p.Addr()
			if !usable(a) || r.Interface == "" && !r.Prefix.Contains(a) {
				continue
			}
			if cause := r.objection(i); cause != "" {
				refused = append(refused, fmt.Sprintf("%s is on %s, %s", a, i.Name, cause))
				continue
			}
			found = append(found, uplink{addr: a, iface: i})
		}
	}
	slices.SortStableFunc(found, func(x, y uplink) int { return x.addr.BitLen() - y.addr.BitLen() })
	switch {
	case len(found) > 0:
		return found, nil
	case len(refused) > 0:
		return nil, fmt.Errorf("%s: %s", r, strings.Join(refused, ", "))
	case r.Interface != "" && !slices.ContainsFunc(interfaces, func(i kernel.Interface) bool { return i.Name == r.Interface }):
		return nil, fmt.Errorf("%s does not exist", r)
	default:
		return nil, fmt.Errorf("%s: no interface holds such an address", r)
	}
}

func usable(a netip.Addr) bool {
	return a.IsValid() && !a.IsLinkLocalUnicast() && !a.IsLoopback() && !a.IsMulticast() && !a.IsUnspecified() && !a.Is4In6()
}

// objection returns why an interface is not what the rule means, or "". An
// address that is given as such may be on a bridge: hosts of virtual machines
// have their own address there.
func (r AddressRule) objection(i kernel.Interface) string {
	if cause := neverUnderlay(i); cause != "" {
		return cause
	}
	if i.Kind == "bridge" && (r.Interface != "" || !r.Prefix.IsSingleIP()) {
		return "a bridge; give the address itself if it is meant"
	}
	if isTunnelKind(i.Kind) {
		return "a tunnel (" + i.Kind + ")"
	}
	return ""
}

// containerBridge matches the bridges that container engines and virtual
// machine managers make for their own networks.
var containerBridge = regexp.MustCompile(`^(docker\d+|br-[0-9a-f]{12}|cni\d+|cni-podman\d+|podman\d+|cbr0|virbr\d+|lxcbr\d+|lxdbr\d+|nerdctl\d+|kube-bridge)$`)

// neverUnderlay returns why no node is reached by what an interface holds, or
// "". A WireGuard link is not among it: a cluster may be built on one.
func neverUnderlay(i kernel.Interface) string {
	switch {
	case isOwn(i.Name):
		return "which is Ropeway's own"
	case isServiceLink(i.Name):
		return "which holds addresses of services"
	case i.Kind == "veth" && isPodEnd(i.Name):
		return "the link of a pod"
	case i.Kind == "bridge" && containerBridge.MatchString(i.Name):
		return "a bridge for containers"
	case slices.Contains([]string{"vxlan", "geneve", "ipip", "sit", "ip6tnl", "gre", "gretap", "ip6gre", "erspan"}, i.Kind):
		return "a tunnel (" + i.Kind + ")"
	}
	return ""
}

// isPodEnd tells host ends of other networks' pod links, by the names that
// these give them. A veth by itself may be a node's way out: nodes that are
// containers have nothing else.
func isPodEnd(name string) bool {
	for _, prefix := range []string{"veth", "cali", "lxc", "eni", "cilium_"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

func isTunnelKind(kind string) bool {
	return slices.Contains([]string{"wireguard", "tun", "ppp", "xfrm", "vti", "vti6"}, kind)
}
