package topology

import (
	"net/netip"
	"slices"

	"github.com/ropeway-net/ropeway/kernel"
)

// Chain priorities, as nft names them.
const (
	priorityRaw    = -300 // before connection tracking
	prioritySrcNAT = 100
)

// IP protocol numbers of the tunnels.
const (
	protocolIPIP = 4
	protocolIPv6 = 41
)

// buildTable makes the nftables table. Its rules are few and always the same;
// peers and pods are elements of sets.
func buildTable(in Input, peers []peer, paths []path, t tunnels) *kernel.Table {
	table := &kernel.Table{Sets: map[string]kernel.Set{}, Maps: map[string]kernel.Map{}, Chains: map[string]kernel.Chain{}}
	raw := kernel.Chain{Type: kernel.FilterChain, Hook: kernel.Prerouting, Priority: priorityRaw, Rules: spoofingRules()}
	if guarded := tunnelPackets(in.Config, t); len(guarded) > 0 {
		nodes := setOf("nodes", familyOf(t.local()))
		table.Sets[nodes.name] = nodeSet(nodes, peers)
		raw.Rules = append(raw.Rules, strangerRules(guarded, nodes)...)
		table.Chains["output-raw"] = kernel.Chain{Type: kernel.FilterChain, Hook: kernel.Output, Priority: priorityRaw, Rules: untrackedRules(guarded, nodes)}
	}
	table.Chains["prerouting-raw"] = raw
	if in.Config.Masquerade {
		addMasquerade(table, in, peers, paths)
	}
	return table
}

// setName is a set's name and the family that it holds.
type setName struct {
	name string
	kind kernel.SetType
}

func setOf(name string, f family) setName {
	if f == ipv4 {
		return setName{name + "4", kernel.IPv4Addr}
	}
	return setName{name + "6", kernel.IPv6Addr}
}

func (s setName) match(field kernel.Field) kernel.Statement {
	return kernel.InSet{Field: field, Set: s.name, Type: s.kind}
}

func (s setName) exclude(field kernel.Field) kernel.Statement {
	return kernel.InSet{Field: field, Set: s.name, Type: s.kind, Not: true}
}

func (s setName) family() family {
	if s.kind == kernel.IPv4Addr {
		return ipv4
	}
	return ipv6
}

func (s setName) holds(a netip.Addr) bool { return familyOf(a) == s.family() }

// spoofingRules drop what a pod sends from an address that is not routed back
// to it. The kernel's reverse-path filter does the same for IPv4 alone.
func spoofingRules() []kernel.Rule {
	return []kernel.Rule{
		{Comment: "pod sends from an address that is not its own", Statements: []kernel.Statement{
			kernel.FromPodLink{}, kernel.IPv4Packet{}, kernel.NoReturnPath{}, kernel.Counter{}, kernel.Drop{},
		}},
		{Comment: "pod sends from an address that is not its own", Statements: []kernel.Statement{
			kernel.FromPodLink{}, kernel.SpecifiedIPv6Source{}, kernel.NoReturnPath{}, kernel.Counter{}, kernel.Drop{},
		}},
	}
}

// tunnelPackets are the matches for the outer packets of the node's tunnels.
func tunnelPackets(cfg Config, t tunnels) []kernel.Statement {
	var out []kernel.Statement
	for _, f := range bothFamilies() {
		tun, ok := t[f]
		if !ok {
			continue
		}
		var match kernel.Statement = kernel.L4Proto{Number: protocolIPv6}
		switch {
		case tun.link.Kind == kernel.VXLAN:
			match = kernel.UDPDestinationPort{Port: cfg.Port}
		case f == ipv4:
			match = kernel.L4Proto{Number: protocolIPIP}
		}
		if !slices.Contains(out, match) {
			out = append(out, match)
		}
	}
	return out
}

// local is the outer address of the node's tunnels.
func (t tunnels) local() netip.Addr {
	for _, tun := range t {
		return tun.local // the same in all of them
	}
	return netip.Addr{}
}

// strangerRules close the tunnels to everybody but the peers, whose packets
// then need no connection tracking. A pod's tunnel packet to a peer is dropped
// where it starts: masqueraded, it would come from a node.
func strangerRules(guarded []kernel.Statement, nodes setName) []kernel.Rule {
	var rules []kernel.Rule
	for _, packet := range guarded {
		rules = append(rules,
			kernel.Rule{Comment: "pod sends a tunnel packet to a node", Statements: []kernel.Statement{
				kernel.FromPodLink{}, packet, nodes.match(kernel.Daddr), kernel.Counter{}, kernel.Drop{},
			}},
			kernel.Rule{Comment: "tunnel packet from an address that is no node", Statements: []kernel.Statement{
				packet, kernel.LocalDestination{}, nodes.exclude(kernel.Saddr), kernel.Counter{}, kernel.Drop{},
			}},
			kernel.Rule{Comment: "tunnel packets need no tracking", Statements: []kernel.Statement{
				packet, kernel.LocalDestination{}, kernel.Notrack{},
			}})
	}
	return rules
}

func untrackedRules(guarded []kernel.Statement, nodes setName) []kernel.Rule {
	var rules []kernel.Rule
	for _, packet := range guarded {
		rules = append(rules, kernel.Rule{Comment: "tunnel packets need no tracking", Statements: []kernel.Statement{
			packet, nodes.match(kernel.Daddr), kernel.Notrack{},
		}})
	}
	return rules
}

// nodeSet holds the addresses of all peers in one family.
func nodeSet(name setName, peers []peer) kernel.Set {
	elements := map[netip.Prefix]struct{}{}
	for _, p := range peers {
		if p.refused != "" {
			continue
		}
		for _, a := range p.Addresses {
			if name.holds(a) {
				elements[whole(a)] = struct{}{}
			}
		}
	}
	return kernel.Set{Type: name.kind, Elements: elements}
}

// addMasquerade gives packets from own pods to the outside the node's
// address. Pods that speak to a node behind a tunnel are masqueraded too: the
// answer would otherwise travel outside of the tunnel, through a network that
// may not accept a pod's address.
func addMasquerade(table *kernel.Table, in Input, peers []peer, paths []path) {
	chain := kernel.Chain{Type: kernel.NATChain, Hook: kernel.Postrouting, Priority: prioritySrcNAT}
	for _, f := range bothFamilies() {
		own, ok := prefixOfFamily(in.Self.PodCIDRs, f)
		if !ok {
			continue
		}
		local, pods, direct := setOf("local-pods", f), setOf("pods", f), setOf("direct-nodes", f)
		table.Sets[local.name] = kernel.Set{Type: local.kind, Interval: true, Elements: map[netip.Prefix]struct{}{own: {}}}
		all := map[netip.Prefix]struct{}{own: {}}
		for _, p := range peers {
			for _, cidr := range p.podCIDRs {
				if familyOf(cidr.Addr()) == f {
					all[cidr] = struct{}{}
				}
			}
		}
		table.Sets[pods.name] = kernel.Set{Type: pods.kind, Interval: true, Elements: all}
		table.Sets[direct.name] = kernel.Set{Type: direct.kind, Elements: directNodes(direct, paths)}
		chain.Rules = append(chain.Rules, kernel.Rule{Comment: "pods reach the outside with the node's address", Statements: []kernel.Statement{
			local.match(kernel.Saddr), pods.exclude(kernel.Daddr), direct.exclude(kernel.Daddr), kernel.MasqueradeRandom{},
		}})
	}
	table.Chains["postrouting-nat"] = chain
}

// directNodes are the addresses of peers whose pods of that family are
// reached directly; they know the way back to a pod.
func directNodes(name setName, paths []path) map[netip.Prefix]struct{} {
	elements := map[netip.Prefix]struct{}{}
	for _, p := range paths {
		if p.Via != ViaDirect || !name.holds(p.PodCIDR.Addr()) {
			continue
		}
		if a, ok := ofFamily(p.peer.Addresses, name.family()); ok {
			elements[whole(a)] = struct{}{}
		}
	}
	return elements
}
