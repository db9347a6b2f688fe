package kernel

import (
	"encoding/binary"
	"net/netip"

	"github.com/google/nftables"
)

// Offsets in keys and values of maps: the kernel aligns each part to a word.
const (
	word           = 4
	keyTypeProto   = 12 // nft's numbers for its datatypes
	keyTypeService = 13
	// concatBits is how many bits of a concatenation's number one part has.
	concatBits = 6
)

// concatType is nft's number for a concatenation of datatypes.
func concatType(parts ...uint32) uint32 {
	var n uint32
	for _, p := range parts {
		n = n<<concatBits | p
	}
	return n
}

func addrWords(family SetType) int {
	if family == IPv6Addr {
		return ipv6AddrLen / word
	}
	return ipv4AddrLen / word
}

func addrType(family SetType) uint32 {
	if family == IPv6Addr {
		return keyTypeIPv6
	}
	return keyTypeIPv4
}

// datatypes returns the numbers and lengths of keys and values, lengths in
// bytes.
func (t MapType) datatypes() (key, keyLen, data, dataLen uint32) {
	addr, words := addrType(t.family()), uint32(addrWords(t.family()))
	data, dataLen = concatType(addr, keyTypeService), (words+1)*word
	if t.byAddr() {
		return concatType(addr, keyTypeProto, keyTypeService), (words + 2) * word, data, dataLen
	}
	return concatType(keyTypeProto, keyTypeService), 2 * word, data, dataLen
}

// mapTypeOf is the reverse, false for a map of somebody else's.
func mapTypeOf(key, keyLen, data, dataLen uint32) (MapType, bool) {
	for _, t := range []MapType{PortMap4, PortMap6, AddrPortMap4, AddrPortMap6} {
		if k, kl, d, dl := t.datatypes(); k == key && kl == keyLen && d == data && dl == dataLen {
			return t, true
		}
	}
	return "", false
}

// encodeMap returns the library's form of a map.
func encodeMap(table *nftables.Table, id uint32, name string, t MapType) *nftables.Set {
	key, keyLen, data, dataLen := t.datatypes()
	set := &nftables.Set{Table: table, ID: id, Name: name, IsMap: true}
	set.KeyType = nftables.SetDatatype{Name: string(t), Bytes: keyLen}
	set.KeyType.SetNFTMagic(key)
	set.DataType = nftables.SetDatatype{Name: string(t), Bytes: dataLen}
	set.DataType.SetNFTMagic(data)
	return set
}

func encodePortKey(k PortKey) []byte {
	var b []byte
	if k.Addr.IsValid() {
		b = k.Addr.AsSlice()
	}
	b = append(b, byte(k.Protocol), 0, 0, 0)
	return append(binary.BigEndian.AppendUint16(b, k.Port), 0, 0)
}

func encodeAddrPort(to netip.AddrPort) []byte {
	return append(binary.BigEndian.AppendUint16(to.Addr().AsSlice(), to.Port()), 0, 0)
}

// decodeMapElements reads elements. It says false when one is not what a map
// of the type holds.
func decodeMapElements(elements []listedElement, t MapType) (map[PortKey]netip.AddrPort, bool) {
	decoded := make(map[PortKey]netip.AddrPort, len(elements))
	for _, e := range elements {
		k, okKey := decodePortKey(e.key, t)
		to, okData := decodeAddrPort(e.data, t)
		if !okKey || !okData || e.end {
			return nil, false
		}
		decoded[k] = to
	}
	return decoded, true
}

func decodePortKey(b []byte, t MapType) (PortKey, bool) {
	_, keyLen, _, _ := t.datatypes()
	if len(b) != int(keyLen) {
		return PortKey{}, false
	}
	var k PortKey
	if t.byAddr() {
		n := addrWords(t.family()) * word
		k.Addr, _ = netip.AddrFromSlice(b[:n])
		b = b[n:]
	}
	k.Protocol, k.Port = Protocol(b[0]), binary.BigEndian.Uint16(b[word:])
	return k, !k.Addr.Is4In6()
}

func decodeAddrPort(b []byte, t MapType) (netip.AddrPort, bool) {
	n := addrWords(t.family()) * word
	if len(b) != n+word {
		return netip.AddrPort{}, false
	}
	a, _ := netip.AddrFromSlice(b[:n])
	return netip.AddrPortFrom(a, binary.BigEndian.Uint16(b[n:])), !a.Is4In6()
}
