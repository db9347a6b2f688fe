package kernel

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
)

// TableFamily is the family of an nftables table.
type TableFamily string

// The families whose chains see the packets of pods.
const (
	FamilyIPv4 TableFamily = "ip"
	FamilyIPv6 TableFamily = "ip6"
	FamilyInet TableFamily = "inet" // both
)

// Input is the hook of packets to the node itself.
const Input Hook = inputHook

// ForeignChain names a chain of somebody else's table.
type ForeignChain struct {
	Family       TableFamily
	Table, Chain string
}

// String prints the chain as nft's commands name it.
func (c ForeignChain) String() string {
	return string(c.Family) + " " + shellWord(c.Table) + " " + shellWord(c.Chain)
}

func compareChains(a, b ForeignChain) int {
	return cmp.Or(cmp.Compare(a.Family, b.Family), cmp.Compare(a.Table, b.Table), cmp.Compare(a.Chain, b.Chain))
}

// Firewall is a base chain of somebody else's that drops or rejects what none
// of its rules has let through before: by its policy, by a rule without a
// condition, or by jumping without a condition to a chain that ends so.
type Firewall struct {
	Chain ForeignChain
	Hook  Hook // Forward or Input
	// Program is who made it, as far as its names tell: firewalld, ufw, docker
	// or "".
	Program string
	// Legacy says that it was made by iptables-legacy, which nftables does not
	// show; then Chain names its table without nftables having one.
	Legacy bool
	// Owned says that the table belongs to one running program: the kernel
	// lets nobody else change it (table flag owner, Linux 5.12).
	Owned bool
	// Before is the handle of the rule in front of which another one must
	// stand to be asked before the packet is dropped; 0: behind all rules.
	Before uint64
	// Passes are what rules in front of that may let in, for hook Input.
	Passes []Pass
}

// Pass is what a rule may let in, in terms of a packet's protocol and
// destination port. The zero Pass is every packet.
type Pass struct {
	Protocol    uint8  // 0: any
	First, Last uint16 // ports; both 0: any
}

// Admits says whether one of the rules may let in a packet of a protocol to a
// port, 0 for a protocol without ports.
func (f Firewall) Admits(protocol uint8, port uint16) bool {
	return slices.ContainsFunc(f.Passes, func(p Pass) bool {
		return (p.Protocol == 0 || p.Protocol == protocol) &&
			(p.First == 0 && p.Last == 0 || p.First <= port && port <= p.Last)
	})
}

// PodSide is which side of a forwarded packet's way is a pod link.
type PodSide string

// The sides, by the match that looks at them.
const (
	FromPods PodSide = "iifname"
	ToPods   PodSide = "oifname"
)

// Admission is a rule of ours in somebody else's chain that accepts packets
// from or to pod links, where the chain would otherwise drop them.
type Admission struct {
	Chain   ForeignChain
	Packets PodSide
}

func compareAdmissions(a, b Admission) int {
	return cmp.Or(compareChains(a.Chain, b.Chain), cmp.Compare(a.Packets, b.Packets))
}

// AdmissionPlace is where such a rule stands. It is no part of what makes two
// States differ.
type AdmissionPlace struct {
	Handle uint64 // of the rule in the kernel; 0 in a desired State
	Before uint64 // as [Firewall].Before; of a desired State
}

// ForeignRule names a rule in somebody else's chain.
type ForeignRule struct {
	Chain  ForeignChain
	Handle uint64
}

func compareForeignRules(a, b ForeignRule) int {
	return cmp.Or(compareChains(a.Chain, b.Chain), cmp.Compare(a.Handle, b.Handle))
}

// AdmissionAdd puts a rule into somebody else's chain: in front of the rule
// with the handle Before, or behind all.
type AdmissionAdd struct {
	Admission
	Before uint64
}

// AdmissionDel deletes a rule of ours from somebody else's chain.
type AdmissionDel struct {
	ForeignRule
}

// String prints a rule that iptables-nft understands: -i rwp+ -j ACCEPT.
func (o AdmissionAdd) String() string {
	words := []string{"nft add rule", o.Chain.String()}
	if o.Before != 0 {
		words = []string{"nft insert rule", o.Chain.String(), "handle", strconv.FormatUint(o.Before, 10)}
	}
	return strings.Join(append(words, string(o.Packets), `"`+PodLinkPrefix+`*"`, "counter accept"), " ")
}

func (o AdmissionDel) String() string {
	return "nft delete rule " + o.Chain.String() + " handle " + strconv.FormatUint(o.Handle, 10)
}

func (d *differ) addAdmissions() {
	for _, a := range sorted(d.desired.Admissions, compareAdmissions) {
		if _, ok := d.actual.Admissions[a]; !ok {
			d.plan.add(AdmissionAdd{a, d.desired.Admissions[a].Before})
		}
	}
}

func (d *differ) deleteAdmissions() {
	doomed := map[ForeignRule]struct{}{}
	for a, place := range d.actual.Admissions {
		if _, ok := d.desired.Admissions[a]; !ok {
			doomed[ForeignRule{a.Chain, place.Handle}] = struct{}{}
		}
	}
	for rule := range d.actual.Strays {
		if _, ok := d.desired.Strays[rule]; !ok {
			doomed[rule] = struct{}{}
		}
	}
	for _, rule := range sorted(doomed, compareForeignRules) {
		d.plan.add(AdmissionDel{rule})
	}
}
