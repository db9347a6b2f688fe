package kernel

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Protocol is a transport protocol by its IANA number.
type Protocol uint8

// The transport protocols that have ports.
const (
	TCP  Protocol = 6
	UDP  Protocol = 17
	SCTP Protocol = 132
)

// String is the name by which nft lists the protocol, the number if it is none
// of those that have ports.
func (p Protocol) String() string {
	switch p {
	case TCP:
		return "tcp"
	case UDP:
		return "udp"
	case SCTP:
		return "sctp"
	}
	return strconv.Itoa(int(p))
}

// ParseProtocol reads a protocol that has ports by its name, in any letter case.
func ParseProtocol(name string) (Protocol, error) {
	for _, p := range []Protocol{TCP, UDP, SCTP} {
		if strings.EqualFold(name, p.String()) {
			return p, nil
		}
	}
	return 0, fmt.Errorf("%q is none of %s, %s and %s", name, TCP, UDP, SCTP)
}

// MarshalText implements encoding.TextMarshaler.
func (p Protocol) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (p *Protocol) UnmarshalText(text []byte) (err error) {
	*p, err = ParseProtocol(string(text))
	return err
}

// MapType is the nft type of a [Map]. A map in the kernel that is none of the
// constants appears as a [Set] whose type says what it is.
type MapType string

// The types of maps that Ropeway has: by protocol and port, or by address,
// protocol and port, to an address and a port of the same family.
const (
	PortMap4     MapType = "inet_proto . inet_service : ipv4_addr . inet_service"
	PortMap6     MapType = "inet_proto . inet_service : ipv6_addr . inet_service"
	AddrPortMap4 MapType = "ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service"
	AddrPortMap6 MapType = "ipv6_addr . inet_proto . inet_service : ipv6_addr . inet_service"
)

// family is the type of the map's addresses, "" for an unknown map type.
func (t MapType) family() SetType {
	switch t {
	case PortMap4, AddrPortMap4:
		return IPv4Addr
	case PortMap6, AddrPortMap6:
		return IPv6Addr
	}
	return ""
}

// byAddr says whether keys begin with an address.
func (t MapType) byAddr() bool { return t == AddrPortMap4 || t == AddrPortMap6 }

// Map is a named map that tells where packets to a port go.
type Map struct {
	Type     MapType
	Elements map[PortKey]netip.AddrPort
}

// PortKey is the key of a [Map].
type PortKey struct {
	Addr     netip.Addr // zero in a map that is not by address
	Protocol Protocol
	Port     uint16
}

// String prints the key as nft lists it.
func (k PortKey) String() string {
	s := k.Protocol.String() + " . " + strconv.Itoa(int(k.Port))
	if k.Addr.IsValid() {
		return k.Addr.String() + " . " + s
	}
	return s
}

// ComparePortKeys orders keys by address, protocol and port.
func ComparePortKeys(a, b PortKey) int {
	return cmp.Or(a.Addr.Compare(b.Addr), cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.Port, b.Port))
}

// printElement prints an element as nft lists it.
func printElement(k PortKey, to netip.AddrPort) string {
	return k.String() + " : " + to.Addr().String() + " . " + strconv.Itoa(int(to.Port()))
}

// bracedElements prints elements of a map in the order of keys.
func bracedElements(keys []PortKey, elements map[PortKey]netip.AddrPort) string {
	words := make([]string, len(keys))
	for i, k := range keys {
		words[i] = printElement(k, elements[k])
	}
	return "{ " + strings.Join(words, ", ") + " }"
}

func sortedPorts(elements map[PortKey]netip.AddrPort) []PortKey {
	return sorted(elements, ComparePortKeys)
}

// checkElement says whether a map can hold an element.
func (m Map) checkElement(k PortKey, to netip.AddrPort) error {
	for _, a := range []netip.Addr{k.Addr, to.Addr()} {
		switch {
		case a == (netip.Addr{}) && a == k.Addr && !m.Type.byAddr():
		case !a.IsValid() || a.Is4In6() || a.Zone() != "" || a.Is4() != (m.Type.family() == IPv4Addr):
			return fmt.Errorf("%q does not fit type %s", a, m.Type)
		}
	}
	if k.Addr.IsValid() && !m.Type.byAddr() {
		return fmt.Errorf("%s does not fit type %s", k, m.Type)
	}
	return nil
}

// goneKeys are the keys of a that are not in b, sorted.
func goneKeys(a, b map[PortKey]netip.AddrPort) []PortKey {
	var keys []PortKey
	for k := range a {
		if _, ok := b[k]; !ok {
			keys = append(keys, k)
		}
	}
	slices.SortFunc(keys, ComparePortKeys)
	return keys
}
