package kernel

import "net/netip"

// Table is the nftables table of family inet named [TableName].
type Table struct {
	Sets   map[string]Set
	Chains map[string]Chain
}

// SetType is the nft key type of a set.
type SetType string

// The key types that Ropeway's sets have.
const (
	IPv4Addr SetType = "ipv4_addr"
	IPv6Addr SetType = "ipv6_addr"
)

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

// Chain is a base chain with policy accept.
type Chain struct {
	Type     ChainType
	Hook     Hook
	Priority int // -300 is raw, 0 filter, 100 srcnat
	Rules    []Rule
}

// Rule is a list of statements, evaluated left to right as nft does.
type Rule struct {
	Comment    string // says what the rule is for, at most 128 bytes
	Statements []Statement
}
