package hostports

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/ropeway-net/ropeway/kernel"
)

const (
	priorityRaw = -300 // before connection tracking
	// priorityBehindServices is just behind nft's dstnat, where kube-proxy
	// has its chains, and iptables its table: whatever translates first wins.
	priorityBehindServices = -90
	prioritySrcNAT         = 100
)

// onAllName is the map of ports that are open on every address of the node,
// onOneName that of ports on one of them; both are by family of the pod's.
func onAllName(pod netip.Addr) string { return "host-ports" + suffix(pod) }
func onOneName(pod netip.Addr) string { return "host-ports-on" + suffix(pod) }

func hairpinName(pod netip.Addr) string { return "hairpin" + suffix(pod) }

// exceptName is the set of addresses that are local to the node and yet have
// no host ports.
func exceptName(a netip.Addr) string { return "host-ports-not-on" + suffix(a) }

// loopback6 has no host ports, because the kernel delivers no answer there
// from a link; the program that listens there goes on to be reached.
func loopback6() netip.Prefix { return whole(netip.IPv6Loopback()) }

func suffix(a netip.Addr) string {
	if a.Is4() {
		return "4"
	}
	return "6"
}

// families are an address of each family, IPv4 first.
func families() []netip.Addr { return []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()} }

// types are the nft types of a family.
func types(a netip.Addr) (addr, pair kernel.SetType, onAll, onOne kernel.MapType) {
	if a.Is4() {
		return kernel.IPv4Addr, kernel.IPv4Pair, kernel.PortMap4, kernel.AddrPortMap4
	}
	return kernel.IPv6Addr, kernel.IPv6Pair, kernel.PortMap6, kernel.AddrPortMap6
}

// Table is everything that host ports need, without a single port. It is the
// same on every node.
func Table() *kernel.Table {
	t := &kernel.Table{Sets: map[string]kernel.Set{}, Maps: map[string]kernel.Map{}, Chains: map[string]kernel.Chain{}}
	var translate, masquerade []kernel.Rule
	for _, f := range families() {
		addr, pair, onAll, onOne := types(f)
		t.Maps[onAllName(f)] = kernel.Map{Type: onAll, Elements: map[kernel.PortKey]netip.AddrPort{}}
		t.Maps[onOneName(f)] = kernel.Map{Type: onOne, Elements: map[kernel.PortKey]netip.AddrPort{}}
		t.Sets[hairpinName(f)] = kernel.Set{Type: pair, Elements: map[netip.Prefix]struct{}{}}
		t.Sets[exceptName(f)] = kernel.Set{Type: addr, Elements: map[netip.Prefix]struct{}{}}
		own := []kernel.Statement{
			kernel.LocalDestination{},
			kernel.InSet{Field: kernel.Daddr, Set: exceptName(f), Type: addr, Not: true},
		}
		translate = append(translate,
			kernel.Rule{Comment: "host port on one address", Statements: append(slices.Clone(own), kernel.DNAT{Map: onOneName(f), Type: onOne})},
			kernel.Rule{Comment: "host port", Statements: append(slices.Clone(own), kernel.DNAT{Map: onAllName(f), Type: onAll})})
		masquerade = append(masquerade, kernel.Rule{Comment: "pod reaches itself through its host port", Statements: []kernel.Statement{
			kernel.ToItself{Set: hairpinName(f), Type: pair}, kernel.MasqueradeRandom{},
		}})
	}
	masquerade = append(masquerade, kernel.Rule{Comment: "host port on the node's loopback", Statements: []kernel.Statement{
		kernel.FromLoopback{}, kernel.ToPodLink{}, kernel.MasqueradeRandom{},
	}})
	t.Sets[exceptName(netip.IPv6Loopback())].Elements[loopback6()] = struct{}{}
	nat := func(hook kernel.Hook, priority int, rules []kernel.Rule) kernel.Chain {
		return kernel.Chain{Type: kernel.NATChain, Hook: hook, Priority: priority, Rules: rules}
	}
	t.Chains["prerouting-host-ports"] = nat(kernel.Prerouting, priorityBehindServices, translate)
	t.Chains["output-host-ports"] = nat(kernel.Output, priorityBehindServices, slices.Clone(translate))
	t.Chains["postrouting-host-ports"] = nat(kernel.Postrouting, prioritySrcNAT, masquerade)
	t.Chains["prerouting-loopback"] = kernel.Chain{
		Type: kernel.FilterChain, Hook: kernel.Prerouting, Priority: priorityRaw,
		Rules: []kernel.Rule{{Comment: "pod sends to the node's loopback", Statements: []kernel.Statement{
			kernel.FromPodLink{}, kernel.ToLoopback{}, kernel.Counter{}, kernel.Drop{},
		}}},
	}
	return t
}

// Elements is the part of [Table] that holds the ports.
func Elements() *kernel.Table {
	t := Table()
	t.Chains = nil
	for _, f := range families() {
		delete(t.Sets, exceptName(f))
	}
	return t
}

// Whole returns what of the table is about host ports as it should be, with the
// ports and addresses that actual has; actual may be nil.
func Whole(actual *kernel.Table) *kernel.Table {
	t := Table()
	if actual == nil {
		return t
	}
	for name, m := range t.Maps {
		if have, ok := actual.Maps[name]; ok && have.Type == m.Type {
			t.Maps[name] = have
		}
	}
	for name, s := range t.Sets {
		if have, ok := actual.Sets[name]; ok && have.Type == s.Type && have.Interval == s.Interval {
			t.Sets[name] = have
		}
	}
	t.Sets[exceptName(netip.IPv6Loopback())].Elements[loopback6()] = struct{}{}
	return t
}

// Open leads ports to a pod, whoever had them.
func Open(t *kernel.Table, targets []Target) {
	for _, target := range targets {
		t.Maps[target.Map].Elements[target.Key] = target.Port
		t.Sets[hairpinName(target.Port.Addr())].Elements[whole(target.Port.Addr())] = struct{}{}
	}
}

// CloseTargets takes these elements away, where they still lead where they say,
// and returns them. Other ports of the same pods stay, and so do those of
// another pod that has come to an address meanwhile. It does not mind objects
// that are not there.
func CloseTargets(t *kernel.Table, targets []Target) []Target {
	var closed []Target
	for _, target := range targets {
		if t.Maps[target.Map].Elements[target.Key] == target.Port {
			delete(t.Maps[target.Map].Elements, target.Key)
			closed = append(closed, target)
		}
	}
	for _, target := range targets {
		if a := target.Port.Addr(); len(leading(t, []netip.Addr{a})) == 0 {
			delete(t.Sets[hairpinName(a)].Elements, whole(a))
		}
	}
	return closed
}

// Close takes every port from a pod and returns what those were. It does not
// mind objects that are not there.
func Close(t *kernel.Table, pod []netip.Addr) []Target {
	closed := leading(t, pod)
	for _, target := range closed {
		delete(t.Maps[target.Map].Elements, target.Key)
	}
	for _, a := range pod {
		delete(t.Sets[hairpinName(a)].Elements, whole(a))
	}
	return closed
}

// Strangers are the addresses that ports lead to, or that have been led to,
// without being among pods.
func Strangers(t *kernel.Table, pods map[netip.Addr]bool) []netip.Addr {
	found := map[netip.Addr]bool{}
	for _, f := range families() {
		for _, name := range []string{onAllName(f), onOneName(f)} {
			for _, to := range t.Maps[name].Elements {
				found[to.Addr()] = !pods[to.Addr()]
			}
		}
		for p := range t.Sets[hairpinName(f)].Elements {
			found[p.Addr()] = !pods[p.Addr()]
		}
	}
	var strangers []netip.Addr
	for a, strange := range found {
		if strange {
			strangers = append(strangers, a)
		}
	}
	slices.SortFunc(strangers, netip.Addr.Compare)
	return strangers
}

// leading returns the elements that lead to a pod, sorted.
func leading(t *kernel.Table, pod []netip.Addr) []Target {
	var found []Target
	for _, f := range families() {
		for _, name := range []string{onAllName(f), onOneName(f)} {
			for key, to := range t.Maps[name].Elements {
				if slices.Contains(pod, to.Addr()) {
					found = append(found, Target{name, key, to})
				}
			}
		}
	}
	slices.SortFunc(found, compareTargets)
	return found
}

// Keep takes over from actual what leads to a pod, unless the key is taken.
func Keep(t, actual *kernel.Table, pod []netip.Addr) {
	for _, target := range leading(actual, pod) {
		if _, taken := t.Maps[target.Map].Elements[target.Key]; !taken {
			Open(t, []Target{target})
		}
	}
}

// HideServices keeps ports off addresses that are local because services have
// them.
func HideServices(t *kernel.Table, addresses []netip.Addr) {
	for _, a := range addresses {
		t.Sets[exceptName(a)].Elements[whole(a)] = struct{}{}
	}
}

// Missing names what a pod's ports lack, nil if nothing. actual may be nil.
func Missing(actual *kernel.Table, targets []Target) []error {
	if actual == nil {
		return []error{fmt.Errorf("there is no nftables table inet %s, which leads host ports to the pod", kernel.TableName)}
	}
	var missing []error
	for _, t := range targets {
		to, ok := actual.Maps[t.Map].Elements[t.Key]
		switch {
		case !ok:
			missing = append(missing, fmt.Errorf("host port %s leads nowhere: it is not in map %s", t, t.Map))
		case to != t.Port:
			missing = append(missing, fmt.Errorf("host port %s leads to %s, not to %s", t, to, t.Port))
		}
		if _, ok := actual.Sets[hairpinName(t.Port.Addr())].Elements[whole(t.Port.Addr())]; !ok {
			missing = append(missing, fmt.Errorf("%s is not in set %s", t.Port.Addr(), hairpinName(t.Port.Addr())))
		}
	}
	for name, want := range Table().Chains {
		if have, ok := actual.Chains[name]; !ok || !have.Equal(want) {
			missing = append(missing, fmt.Errorf("chain %s of nftables table inet %s is not as it should be", name, kernel.TableName))
		}
	}
	return missing
}

// whole is the prefix that holds one address.
func whole(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }
