package kernel

import (
	"fmt"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Offsets and lengths in packet headers, bytes.
const (
	ipv4SaddrOffset, ipv4DaddrOffset, ipv4AddrLen = 12, 16, 4
	ipv6SaddrOffset, ipv6DaddrOffset, ipv6AddrLen = 8, 24, 16
	udpDportOffset, udpPortLen                    = 2, 2

	// register is the one that nft uses for every match of ours.
	register = unix.NFT_REG_1

	// maxComment is nft's own limit.
	maxComment = 128
)

// encoder turns statements into the kernel's expressions, the very ones that
// nft makes of the same text in a table of family inet: a match on a header
// field is preceded by a match on the protocol, unless one stands before it
// in the rule already.
type encoder struct {
	network   SetType // what the rule has established so far, "" for nothing
	transport uint8
	exprs     []expr.Any
}

// encodeRule returns the expressions of a rule.
func encodeRule(r Rule) ([]expr.Any, error) {
	if len(r.Comment) > maxComment || strings.ContainsAny(r.Comment, "\"\n\x00") {
		return nil, fmt.Errorf("comment %q: at most %d bytes, without quotes and line breaks", r.Comment, maxComment)
	}
	var e encoder
	for _, s := range r.Statements {
		if err := e.statement(s); err != nil {
			return nil, fmt.Errorf("%s: %w", s, err)
		}
	}
	return e.exprs, nil
}

func (e *encoder) add(exprs ...expr.Any) { e.exprs = append(e.exprs, exprs...) }

func (e *encoder) statement(s Statement) error {
	if err := e.dependencies(s); err != nil {
		return err
	}
	switch s := s.(type) {
	case FromPodLink:
		// A name without its closing zero byte matches as a prefix.
		e.meta(expr.MetaKeyIIFNAME, []byte(PodLinkPrefix))
	case IPv4Packet:
		return e.networkProtocol(IPv4Addr)
	case L4Proto:
		return e.transportProtocol(s.Number)
	case SpecifiedIPv6Source:
		e.network16(ipv6SaddrOffset)
		e.compare(expr.CmpOpNeq, make([]byte, ipv6AddrLen))
	case NoReturnPath:
		e.add(&expr.Fib{Register: register, FlagSADDR: true, FlagIIF: true, FlagPRESENT: true, ResultOIF: true})
		e.compare(expr.CmpOpEq, binaryutil.NativeEndian.PutUint32(0))
	case LocalDestination:
		e.add(&expr.Fib{Register: register, FlagDADDR: true, ResultADDRTYPE: true})
		e.compare(expr.CmpOpEq, binaryutil.NativeEndian.PutUint32(unix.RTN_LOCAL))
	case UDPDestinationPort:
		e.payload(expr.PayloadBaseTransportHeader, udpDportOffset, udpPortLen)
		e.compare(expr.CmpOpEq, binaryutil.BigEndian.PutUint16(s.Port))
	case InSet:
		return e.inSet(s)
	case ToPodLink:
		e.meta(expr.MetaKeyOIFNAME, []byte(PodLinkPrefix))
	case FromLoopback:
		e.loopback(ipv4SaddrOffset)
	case ToLoopback:
		e.loopback(ipv4DaddrOffset)
	case ToItself:
		e.toItself(s)
	case DNAT:
		return e.dnat(s)
	default:
		return e.action(s)
	}
	return nil
}

func (e *encoder) action(s Statement) error {
	switch s.(type) {
	case Counter:
		e.add(&expr.Counter{})
	case Drop:
		e.add(&expr.Verdict{Kind: expr.VerdictDrop})
	case Accept:
		e.add(&expr.Verdict{Kind: expr.VerdictAccept})
	case Notrack:
		e.add(&expr.Notrack{})
	case MasqueradeRandom:
		e.add(&expr.Masq{FullyRandom: true})
	default:
		return fmt.Errorf("a %T cannot be written to the kernel", s)
	}
	return nil
}

// dependencies adds the protocol matches that s needs and the rule lacks.
func (e *encoder) dependencies(s Statement) error {
	network, transport := implied(s)
	if network != "" && network != e.network {
		if err := e.networkProtocol(network); err != nil {
			return err
		}
	}
	if transport != 0 && transport != e.transport {
		return e.transportProtocol(transport)
	}
	return nil
}

func (e *encoder) networkProtocol(family SetType) error {
	if e.network != "" {
		return fmt.Errorf("the rule has matched %s before", e.network)
	}
	number := byte(nftables.TableFamilyIPv4)
	if family == IPv6Addr {
		number = byte(nftables.TableFamilyIPv6)
	}
	e.network = family
	e.meta(expr.MetaKeyNFPROTO, []byte{number})
	return nil
}

func (e *encoder) transportProtocol(number uint8) error {
	if e.transport != 0 || number == 0 {
		return fmt.Errorf("the rule has matched protocol %d before %d", e.transport, number)
	}
	e.transport = number
	e.meta(expr.MetaKeyL4PROTO, []byte{number})
	return nil
}

func (e *encoder) inSet(s InSet) error {
	switch {
	case s.Type == IPv4Addr && s.Field == Saddr:
		e.payload(expr.PayloadBaseNetworkHeader, ipv4SaddrOffset, ipv4AddrLen)
	case s.Type == IPv4Addr && s.Field == Daddr:
		e.payload(expr.PayloadBaseNetworkHeader, ipv4DaddrOffset, ipv4AddrLen)
	case s.Type == IPv6Addr && s.Field == Saddr:
		e.network16(ipv6SaddrOffset)
	case s.Type == IPv6Addr && s.Field == Daddr:
		e.network16(ipv6DaddrOffset)
	default:
		return fmt.Errorf("no field %q of type %q", s.Field, s.Type)
	}
	// By name alone: the kernel looks a name up among what the transaction
	// has made so far as well.
	e.add(&expr.Lookup{SourceRegister: register, SetName: s.Set, Invert: s.Not})
	return nil
}

func (e *encoder) meta(key expr.MetaKey, value []byte) {
	e.add(&expr.Meta{Key: key, Register: register})
	e.compare(expr.CmpOpEq, value)
}

func (e *encoder) compare(op expr.CmpOp, value []byte) {
	e.add(&expr.Cmp{Op: op, Register: register, Data: value})
}

func (e *encoder) network16(offset uint32) {
	e.payload(expr.PayloadBaseNetworkHeader, offset, ipv6AddrLen)
}

func (e *encoder) payload(base expr.PayloadBase, offset, length uint32) {
	e.add(&expr.Payload{DestRegister: register, Base: base, Offset: offset, Len: length})
}
