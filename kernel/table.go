package kernel

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
)

// Table is the nftables table of family inet named [TableName].
type Table struct {
	Sets   map[string]Set
	Maps   map[string]Map // share their names with the sets
	Chains map[string]Chain
	// Flags of the table as nft writes them, for instance dormant. Desired is
	// always none; a table that has any is replaced whole.
	Flags string
}

// SetType is the nft key type of a set. A set in the kernel that is not a
// plain set of addresses or prefixes has a longer type, which says what it is
// and equals none of the constants.
type SetType string

// The key types that Ropeway's sets have.
const (
	IPv4Addr SetType = "ipv4_addr"
	IPv6Addr SetType = "ipv6_addr"

	// A set of pairs holds each of its addresses twice, as source and as
	// destination: what somebody sends to itself. It has no intervals.
	IPv4Pair SetType = "ipv4_addr . ipv4_addr"
	IPv6Pair SetType = "ipv6_addr . ipv6_addr"
)

// family is the type of the addresses in a set, "" for an unknown type.
func (t SetType) family() SetType {
	switch t {
	case IPv4Addr, IPv4Pair:
		return IPv4Addr
	case IPv6Addr, IPv6Pair:
		return IPv6Addr
	}
	return ""
}

func (t SetType) isPair() bool { return t == IPv4Pair || t == IPv6Pair }

// Set is a named set of addresses or prefixes of one family.
type Set struct {
	Type     SetType
	Interval bool // holds prefixes; otherwise whole addresses only
	Elements map[netip.Prefix]struct{}
}

// ChainType is filter or nat.
type ChainType string

// Hook is where packets enter a base chain.
type Hook string

// The chain types and hooks that Ropeway uses.
const (
	FilterChain ChainType = "filter"
	NATChain    ChainType = "nat"

	Prerouting  Hook = "prerouting"
	Output      Hook = "output"
	Forward     Hook = "forward"
	Postrouting Hook = "postrouting"
)

// ChainPolicy is what happens to packets that no rule decided about.
type ChainPolicy string

// The policies. Accept is the zero value and the only one that is desired.
const (
	PolicyAccept ChainPolicy = ""
	PolicyDrop   ChainPolicy = "drop"
)

// Chain is a base chain. A chain in the kernel that has no hook (a regular
// chain, somebody else's) has neither Type nor Hook.
type Chain struct {
	Type     ChainType
	Hook     Hook
	Priority int // -300 is raw, 0 filter, 100 srcnat
	Policy   ChainPolicy
	Rules    []Rule
}

// Rule is a list of statements, evaluated left to right as nft does.
type Rule struct {
	Comment    string // says what the rule is for, at most 128 bytes
	Statements []Statement
}

// String prints the rule as nft writes it behind the name of its chain.
func (r Rule) String() string {
	words := make([]string, 0, len(r.Statements)+1)
	for _, s := range r.Statements {
		words = append(words, s.String())
	}
	if r.Comment != "" {
		words = append(words, `comment "`+r.Comment+`"`)
	}
	return strings.Join(words, " ")
}

// String prints the nft script that makes the table; sets, maps and chains are
// each sorted by name. No table is the empty string.
func (t *Table) String() string {
	if t == nil {
		return ""
	}
	var change TableChange
	change.addTable(t)
	return change.script()
}

// clone returns a copy that shares nothing with t.
func (t *Table) clone() *Table {
	if t == nil {
		return nil
	}
	c := &Table{
		Sets:   make(map[string]Set, len(t.Sets)),
		Maps:   make(map[string]Map, len(t.Maps)),
		Chains: make(map[string]Chain, len(t.Chains)),
		Flags:  t.Flags,
	}
	for name, s := range t.Sets {
		s.Elements = maps.Clone(s.Elements)
		c.Sets[name] = s
	}
	for name, m := range t.Maps {
		m.Elements = maps.Clone(m.Elements)
		c.Maps[name] = m
	}
	for name, chain := range t.Chains {
		rules := make([]Rule, len(chain.Rules))
		for i, r := range chain.Rules {
			rules[i] = Rule{r.Comment, slices.Clone(r.Statements)}
		}
		chain.Rules = rules
		c.Chains[name] = chain
	}
	return c
}

// withoutElements is a copy whose sets and maps are empty.
func (t *Table) withoutElements() *Table {
	c := t.clone()
	for name, s := range c.Sets {
		s.Elements = map[netip.Prefix]struct{}{}
		c.Sets[name] = s
	}
	for name, m := range c.Maps {
		m.Elements = map[PortKey]netip.AddrPort{}
		c.Maps[name] = m
	}
	return c
}

// equal says whether both tables do the same to every packet: spellings that
// the kernel keeps as one are one.
func (t *Table) equal(o *Table) bool { return diffTable(t, o) == nil }

// Equal says whether both chains do the same.
func (c Chain) Equal(o Chain) bool {
	return c.Type == o.Type && c.Hook == o.Hook && c.Priority == o.Priority && c.Policy == o.Policy && equalRules(c.Rules, o.Rules)
}

// equal says whether both rules are kept by the kernel as the same.
func (r Rule) equal(o Rule) bool {
	return r.Comment == o.Comment && slices.Equal(canonical(r.Statements), canonical(o.Statements))
}

// canonical leaves out a match that the next one implies. The kernel holds
// both spellings as the same instructions, so reading back cannot tell them
// apart.
func canonical(statements []Statement) []Statement {
	out := make([]Statement, 0, len(statements))
	for i, s := range statements {
		if i+1 < len(statements) {
			network, transport := implied(statements[i+1])
			if s == (IPv4Packet{}) && network == IPv4Addr || transport != 0 && s == (L4Proto{transport}) {
				continue
			}
		}
		out = append(out, s)
	}
	return out
}

// implied returns the family and the transport protocol that a statement
// cannot do without, zero where it does not care.
func implied(s Statement) (network SetType, transport uint8) {
	switch s := s.(type) {
	case SpecifiedIPv6Source:
		return IPv6Addr, 0
	case InSet:
		return s.Type.family(), 0
	case ToItself:
		return s.Type.family(), 0
	case FromLoopback, ToLoopback:
		return IPv4Addr, 0
	case DNAT:
		if s.Type.byAddr() {
			return s.Type.family(), 0
		}
	case UDPDestinationPort:
		return "", udpProtocol
	}
	return "", 0
}

// udpProtocol is the IANA protocol number of UDP.
const udpProtocol = 17
