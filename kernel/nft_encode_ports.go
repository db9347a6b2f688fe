package kernel

import (
	"fmt"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// register32 is the register that begins at a word of the register file, by
// the number that the kernel lists it by.
func register32(words int) uint32 {
	if words%word == 0 {
		return unix.NFT_REG_1 + uint32(words/word)
	}
	return unix.NFT_REG32_00 + uint32(words)
}

// load puts a part of the network header into a register.
func (e *encoder) load(offset uint32, family SetType, reg uint32) {
	e.add(&expr.Payload{
		DestRegister: reg, Base: expr.PayloadBaseNetworkHeader,
		Offset: offset, Len: uint32(addrWords(family) * word),
	})
}

// addrOffsets are the places of source and destination in the header.
func addrOffsets(family SetType) (saddr, daddr uint32) {
	if family == IPv6Addr {
		return ipv6SaddrOffset, ipv6DaddrOffset
	}
	return ipv4SaddrOffset, ipv4DaddrOffset
}

// loopback compares the first byte of an address, as nft does with a prefix
// of whole bytes.
func (e *encoder) loopback(offset uint32) {
	e.payload(expr.PayloadBaseNetworkHeader, offset, 1)
	e.compare(expr.CmpOpEq, []byte{127})
}

func (e *encoder) toItself(s ToItself) {
	saddr, daddr := addrOffsets(s.Type.family())
	e.load(saddr, s.Type.family(), register)
	e.load(daddr, s.Type.family(), register32(addrWords(s.Type.family())))
	e.add(&expr.Lookup{SourceRegister: register, SetName: s.Set})
}

// dnat looks the packet's port up and translates to what it finds: address and
// port, one behind the other from the first register on.
func (e *encoder) dnat(s DNAT) error {
	family := s.Type.family()
	if family == "" {
		return fmt.Errorf("no map type %q", s.Type)
	}
	words := 0
	if s.Type.byAddr() {
		_, daddr := addrOffsets(family)
		e.load(daddr, family, register)
		words = addrWords(family)
	}
	protocol := uint32(unix.NFPROTO_IPV4)
	if family == IPv6Addr {
		protocol = unix.NFPROTO_IPV6
	}
	e.add(
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: register32(words)},
		&expr.Payload{DestRegister: register32(words + 1), Base: expr.PayloadBaseTransportHeader, Offset: udpDportOffset, Len: udpPortLen},
		&expr.Lookup{SourceRegister: register, DestRegister: register, IsDestRegSet: true, SetName: s.Map},
		&expr.NAT{Type: expr.NATTypeDestNAT, Family: protocol, RegAddrMin: register, RegProtoMin: register32(addrWords(family))},
	)
	return nil
}
