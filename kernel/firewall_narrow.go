package kernel

import (
	"bytes"
	"encoding/binary"
	"slices"

	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// narrowing is what the conditions of a rule leave of the packets that another
// node's tunnel sends to this one. They are not tracked, since Ropeway's table
// sees to that before any chain of hook input.
type narrowing struct {
	never bool // the rule does not concern them
	pass  Pass
}

// What a register holds.
type loaded string

const (
	nothingKnown loaded = ""
	inputName    loaded = "iifname"
	inputIndex   loaded = "iif"
	transport    loaded = "l4proto"
	destPort     loaded = "dport"
	bothPorts    loaded = "sport . dport" // as iptables-nft loads them together
	trackState   loaded = "ct state"
)

const (
	loopbackIndex     = 1 // in every network namespace
	untrackedState    = 1 << 6
	ipv4ProtocolField = 9
	ipv6NextHeader    = 6
)

// narrow goes through the matches of a rule, of which it follows the plain
// ones; the others may let in everything.
// A set is looked up by elements, which returns nil if it cannot be read.
func narrow(raw []rawExpr, elements func(set string) [][]byte) narrowing {
	var n narrowing
	var holds loaded
	for _, r := range raw {
		switch r.name {
		case "meta":
			holds = n.meta(r)
		case "payload":
			holds = n.payload(r)
		case "ct":
			holds = n.ct(r)
		case "bitwise":
			holds = n.bitwise(r, holds)
		case "lookup":
			n.lookup(r, holds, elements)
		case "cmp":
			if cmp, ok := r.decode().(*expr.Cmp); ok && cmp.Op == expr.CmpOpEq {
				n.equal(holds, cmp.Data)
			}
		case "range":
			var e expr.Range
			if expr.Unmarshal(unix.NFPROTO_INET, r.data, &e) == nil && holds == destPort && e.Op == expr.CmpOpEq && len(e.FromData) == 2 && len(e.ToData) == 2 {
				n.ports(binary.BigEndian.Uint16(e.FromData), binary.BigEndian.Uint16(e.ToData))
			}
		case "match":
			n.match(r.data)
		}
	}
	return n
}

func (n *narrowing) meta(r rawExpr) loaded {
	e, ok := r.decode().(*expr.Meta)
	if !ok || e.SourceRegister {
		return nothingKnown
	}
	switch e.Key {
	case expr.MetaKeyIIFNAME:
		return inputName
	case expr.MetaKeyIIF:
		return inputIndex
	case expr.MetaKeyL4PROTO:
		return transport
	}
	return nothingKnown
}

func (n *narrowing) payload(r rawExpr) loaded {
	e, ok := r.decode().(*expr.Payload)
	switch {
	case !ok:
	case e.Base == expr.PayloadBaseTransportHeader && e.Offset == udpDportOffset && e.Len == udpPortLen:
		return destPort
	case e.Base == expr.PayloadBaseTransportHeader && e.Offset == 0 && e.Len == 2*udpPortLen:
		return bothPorts
	case e.Base == expr.PayloadBaseNetworkHeader && e.Len == 1 && (e.Offset == ipv4ProtocolField || e.Offset == ipv6NextHeader):
		return transport
	}
	return nothingKnown
}

// ct knows that of an untracked packet the kernel can tell nothing but that.
func (n *narrowing) ct(r rawExpr) loaded {
	var e expr.Ct
	if expr.Unmarshal(unix.NFPROTO_INET, r.data, &e) != nil || e.SourceRegister {
		return nothingKnown
	}
	if e.Key == expr.CtKeySTATE {
		return trackState
	}
	n.never = true
	return nothingKnown
}

func (n *narrowing) bitwise(r rawExpr, holds loaded) loaded {
	var e expr.Bitwise
	if holds == trackState && expr.Unmarshal(unix.NFPROTO_INET, r.data, &e) == nil && len(e.Mask) == 4 {
		n.never = n.never || binary.NativeEndian.Uint32(e.Mask)&untrackedState == 0
	}
	return nothingKnown
}

// lookup narrows by a set of protocols or ports. What an untracked packet's
// state is looked up for is its being part of a connection.
func (n *narrowing) lookup(r rawExpr, holds loaded, elements func(set string) [][]byte) {
	e, ok := r.decode().(*expr.Lookup)
	if holds == trackState {
		n.never = true
		return
	}
	if !ok || e.Invert || e.IsDestRegSet || elements == nil || holds != transport && holds != destPort {
		return
	}
	keys := elements(e.SetName)
	if len(keys) == 0 {
		return
	}
	if holds == transport {
		tunnel := func(key []byte) bool {
			return len(key) != 1 || slices.Contains([]byte{unix.IPPROTO_UDP, unix.IPPROTO_IPIP, unix.IPPROTO_IPV6}, key[0])
		}
		n.never = n.never || !slices.ContainsFunc(keys, tunnel)
		return
	}
	first, last := uint16(0xffff), uint16(0)
	for _, key := range keys {
		if len(key) != udpPortLen {
			return
		}
		first, last = min(first, binary.BigEndian.Uint16(key)), max(last, binary.BigEndian.Uint16(key))
	}
	n.ports(first, last)
}

func (n *narrowing) equal(holds loaded, value []byte) {
	switch {
	case holds == inputName:
		n.never = n.never || bytes.Equal(bytes.TrimRight(value, "\x00"), []byte("lo"))
	case holds == inputIndex && len(value) == 4:
		n.never = n.never || binary.NativeEndian.Uint32(value) == loopbackIndex
	case holds == transport && len(value) == 1:
		n.protocol(value[0])
	case holds == destPort && len(value) == 2:
		n.ports(binary.BigEndian.Uint16(value), binary.BigEndian.Uint16(value))
	case holds == bothPorts && len(value) == 4:
		n.ports(binary.BigEndian.Uint16(value[2:]), binary.BigEndian.Uint16(value[2:]))
	case holds == trackState && len(value) == 4:
		n.never = n.never || binary.NativeEndian.Uint32(value)&untrackedState == 0
	}
}

func (n *narrowing) protocol(number uint8) { n.within(Pass{Protocol: number}) }

func (n *narrowing) ports(first, last uint16) {
	n.within(Pass{Protocol: n.pass.Protocol, First: first, Last: last})
}

// within keeps what both let in.
func (n *narrowing) within(p Pass) {
	switch {
	case n.pass.Protocol == 0:
		n.pass.Protocol = p.Protocol
	case p.Protocol != 0 && p.Protocol != n.pass.Protocol:
		n.never = true
	}
	switch {
	case p.First == 0 && p.Last == 0:
	case n.pass.First == 0 && n.pass.Last == 0:
		n.pass.First, n.pass.Last = p.First, p.Last
	default:
		n.pass.First, n.pass.Last = max(n.pass.First, p.First), min(n.pass.Last, p.Last)
		n.never = n.never || n.pass.First > n.pass.Last
	}
}

// match interprets the matches of iptables that say a protocol, or that a
// packet is tracked.
func (n *narrowing) match(data []byte) {
	switch extension(data) {
	case "conntrack", "state":
		n.never = true
	case "tcp":
		n.protocol(unix.IPPROTO_TCP)
	case "icmp":
		n.protocol(unix.IPPROTO_ICMP)
	case "icmp6":
		n.protocol(unix.IPPROTO_ICMPV6)
	case "udp":
		n.protocol(unix.IPPROTO_UDP)
		// struct xt_udp: two source ports, two destination ports, flags that
		// turn them round.
		if info := extensionInfo(data); len(info) >= 9 && info[8] == 0 {
			n.ports(binary.NativeEndian.Uint16(info[4:]), binary.NativeEndian.Uint16(info[6:]))
		}
	}
}

// extensionInfo returns the parameters of an iptables match.
func extensionInfo(data []byte) []byte {
	ad, err := netlink.NewAttributeDecoder(data)
	if err != nil {
		return nil
	}
	for ad.Next() {
		if ad.Type() == unix.NFTA_MATCH_INFO {
			return ad.Bytes()
		}
	}
	return nil
}

// passes collects what a chain may let in before the rule with index end.
func (j *judge) passes(chain string, end int, from narrowing, out *[]Pass) error {
	rules, err := j.of(chain)
	if err != nil {
		return err
	}
	for _, r := range rules[:min(end, len(rules))] {
		n := from
		n.never = n.never || r.narrows.never
		n.within(r.narrows.pass)
		if n.never {
			continue
		}
		switch r.verdict {
		case acceptVerdict, otherVerdict:
			if !slices.Contains(*out, n.pass) {
				*out = append(*out, n.pass)
			}
		case jumpVerdict, gotoVerdict:
			if err := j.called(r.target, n, out); err != nil {
				return err
			}
		case noVerdict:
			if r.conditional && !r.idle && !slices.Contains(*out, n.pass) { // a map of verdicts, or something unknown
				*out = append(*out, n.pass)
			}
		}
	}
	return nil
}

func (j *judge) called(chain string, from narrowing, out *[]Pass) error {
	if j.deep[chain] {
		return nil
	}
	if j.calls++; j.calls > mostCalls { // whatever else there is may let in everything
		if !slices.Contains(*out, Pass{}) {
			*out = append(*out, Pass{})
		}
		return nil
	}
	end, _, err := j.decision(chain)
	if err != nil {
		return err
	}
	if rules, err := j.of(chain); err == nil && end < len(rules) {
		end++ // the deciding rule may be the one that accepts
	}
	j.deep[chain] = true
	defer delete(j.deep, chain)
	return j.passes(chain, end, from, out)
}
