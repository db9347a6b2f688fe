package kernel

import (
	"encoding/binary"
	"reflect"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// rawExpr is an expression of a rule as the kernel lists it.
type rawExpr struct {
	name string
	data []byte
}

// decodeRule turns a listed rule back into statements. Each is guessed from
// what the next expressions look like and believed only if encoding the guess
// gives these expressions; so two different rules never look the same.
func decodeRule(raw []rawExpr) []Statement {
	exprs := make([]expr.Any, len(raw))
	for i, r := range raw {
		exprs[i] = r.decode()
	}
	var statements []Statement
	var known encoder
	for i := 0; i < len(exprs); {
		s, n := decodeNext(exprs[i:], &known)
		if n == 0 {
			return append(statements, unrecognised(raw[i:], exprs[i:]))
		}
		statements = append(statements, s)
		i += n
	}
	return statements
}

// decodeNext returns the statement that exprs begin with and how many of them
// it takes, 0 if it is none of ours.
func decodeNext(exprs []expr.Any, known *encoder) (Statement, int) {
	for _, s := range guesses(exprs) {
		e := encoder{network: known.network, transport: known.transport}
		if e.statement(s) != nil {
			continue
		}
		if n := len(e.exprs); n <= len(exprs) && reflect.DeepEqual(e.exprs, exprs[:n]) {
			*known = e
			return s, n
		}
	}
	return nil, 0
}

// guesses returns what exprs may begin with, the longest first.
func guesses(exprs []expr.Any) []Statement {
	if len(exprs) == 0 {
		return nil
	}
	switch e := exprs[0].(type) {
	case *expr.Meta:
		return guessMeta(e, exprs[1:])
	case *expr.Payload:
		return guessPayload(e, exprs[1:])
	case *expr.Fib:
		return []Statement{NoReturnPath{}, LocalDestination{}}
	case *expr.Counter:
		return []Statement{Counter{}}
	case *expr.Verdict:
		return []Statement{Drop{}, Accept{}}
	case *expr.Notrack:
		return []Statement{Notrack{}}
	case *expr.Masq:
		return []Statement{MasqueradeRandom{}}
	}
	return nil
}

// guessDNAT returns a translation by the map that is looked up next.
func guessDNAT(exprs []expr.Any) []Statement {
	s := DNAT{}
	_, byAddr := exprs[0].(*expr.Payload)
	for _, e := range exprs {
		switch e := e.(type) {
		case *expr.Lookup:
			s.Map = e.SetName
		case *expr.NAT:
			switch s.Type = PortMap4; {
			case byAddr && e.Family == unix.NFPROTO_IPV6:
				s.Type = AddrPortMap6
			case byAddr:
				s.Type = AddrPortMap4
			case e.Family == unix.NFPROTO_IPV6:
				s.Type = PortMap6
			}
			return []Statement{s}
		}
	}
	return nil
}

// guessMeta looks beyond a protocol match at what may have demanded it.
func guessMeta(e *expr.Meta, rest []expr.Any) []Statement {
	value := compared(rest)
	if len(value) == 0 {
		return guessDNAT(append([]expr.Any{e}, rest...))
	}
	switch e.Key {
	case expr.MetaKeyOIFNAME:
		return []Statement{ToPodLink{}}
	case expr.MetaKeyIIFNAME:
		return []Statement{FromPodLink{}}
	case expr.MetaKeyNFPROTO:
		return append(guesses(rest[1:]), IPv4Packet{})
	case expr.MetaKeyL4PROTO:
		return append(guesses(rest[1:]), L4Proto{value[0]})
	}
	return nil
}

func guessPayload(e *expr.Payload, rest []expr.Any) []Statement {
	if e.Base == expr.PayloadBaseTransportHeader {
		if port := compared(rest); len(port) == udpPortLen {
			return []Statement{UDPDestinationPort{binary.BigEndian.Uint16(port)}}
		}
		return nil
	}
	if len(rest) == 0 {
		return nil
	}
	lookup, ok := rest[0].(*expr.Lookup)
	if !ok {
		return guessHeader(e, rest)
	}
	s := InSet{Field: Saddr, Set: lookup.SetName, Type: IPv4Addr, Not: lookup.Invert}
	if e.Len == ipv6AddrLen {
		s.Type = IPv6Addr
	}
	if e.Offset == ipv4DaddrOffset || e.Offset == ipv6DaddrOffset {
		s.Field = Daddr
	}
	return []Statement{s}
}

// guessHeader takes what begins with a field of the network header that is not
// looked up by itself.
func guessHeader(e *expr.Payload, rest []expr.Any) []Statement {
	switch rest[0].(type) {
	case *expr.Cmp:
		return []Statement{SpecifiedIPv6Source{}, FromLoopback{}, ToLoopback{}}
	case *expr.Payload:
		if len(rest) < 2 {
			return nil
		}
		lookup, ok := rest[1].(*expr.Lookup)
		if !ok {
			return nil
		}
		return []Statement{ToItself{lookup.SetName, IPv4Pair}, ToItself{lookup.SetName, IPv6Pair}}
	}
	return guessDNAT(append([]expr.Any{e}, rest...))
}

// compared returns the value that exprs begin to compare with.
func compared(exprs []expr.Any) []byte {
	if len(exprs) == 0 {
		return nil
	}
	if cmp, ok := exprs[0].(*expr.Cmp); ok {
		return cmp.Data
	}
	return nil
}

// decode returns the expression, nil for a kind that no statement has. The
// library's own reader leaves out kinds that it does not know, which makes a
// rule with an additional match look like one without.
func (r rawExpr) decode() expr.Any {
	var e expr.Any
	switch r.name {
	case "meta":
		e = &expr.Meta{}
	case "cmp":
		e = &expr.Cmp{}
	case "payload":
		e = &expr.Payload{}
	case "lookup":
		e = &expr.Lookup{}
	case "fib":
		e = &expr.Fib{}
	case "masq":
		e = &expr.Masq{}
	case "nat":
		e = &expr.NAT{}
	case "counter":
		return &expr.Counter{} // its values are no part of the rule
	case "notrack":
		return &expr.Notrack{} // has no data
	case "immediate":
		return r.decodeVerdict()
	default:
		return nil
	}
	if expr.Unmarshal(byte(nftables.TableFamilyINet), r.data, e) != nil {
		return nil
	}
	if nat, ok := e.(*expr.NAT); ok {
		return listedNAT(*nat)
	}
	return e
}

// listedNAT takes back what the kernel has added to a translation: a range
// that ends where it begins, and that there is a port.
func listedNAT(n expr.NAT) expr.Any {
	if n.RegAddrMax == n.RegAddrMin {
		n.RegAddrMax = 0
	}
	if n.RegProtoMax == n.RegProtoMin {
		n.RegProtoMax = 0
	}
	n.Specified = n.Specified && n.RegProtoMin == 0
	return &n
}

// decodeVerdict returns the verdict that an immediate expression sets, nil if
// it sets something else. The library reads a plain value as drop, whose code
// is 0, when it is asked for a verdict.
func (r rawExpr) decodeVerdict() expr.Any {
	var verdict *expr.Verdict
	ad, err := netlink.NewAttributeDecoder(r.data)
	if err != nil {
		return nil
	}
	ad.ByteOrder = binary.BigEndian
	ours := true
	err = eachAttribute(func(ad *netlink.AttributeDecoder) error {
		switch ad.Type() {
		case unix.NFTA_IMMEDIATE_DREG:
			ours = ours && ad.Uint32() == unix.NFT_REG_VERDICT
		case unix.NFTA_IMMEDIATE_DATA:
			ad.Nested(eachAttribute(func(ad *netlink.AttributeDecoder) error {
				ours = ours && ad.Type() == unix.NFTA_DATA_VERDICT
				ad.Nested(eachAttribute(func(ad *netlink.AttributeDecoder) error {
					ours = ours && ad.Type() == unix.NFTA_VERDICT_CODE // and no chain to jump to
					verdict = &expr.Verdict{Kind: expr.VerdictKind(ad.Int32())}
					return nil
				}))
				return nil
			}))
		}
		return nil
	})(ad)
	if err != nil || !ours || verdict == nil {
		return nil
	}
	return verdict
}

// unrecognised says in one line what a rule holds, with the sets it refers to.
func unrecognised(raw []rawExpr, exprs []expr.Any) Unrecognised {
	words := make([]string, 0, len(raw))
	for i, r := range raw {
		words = append(words, r.name)
		if lookup, ok := exprs[i].(*expr.Lookup); ok {
			words = append(words, "@"+lookup.SetName)
		}
	}
	return Unrecognised{strings.Join(words, " ")}
}
