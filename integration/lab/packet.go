package lab

import (
	"encoding/binary"
	"net/netip"

	"github.com/ropeway-net/ropeway/kernel"
)

// UDPPacket is a whole IP packet with a UDP datagram, checksums filled in, for
// [Namespace.SendRaw] and for putting into a tunnel packet.
func UDPPacket(src, dst netip.AddrPort, payload []byte) []byte {
	udp := make([]byte, 8, 8+len(payload))
	binary.BigEndian.PutUint16(udp[0:], src.Port())
	binary.BigEndian.PutUint16(udp[2:], dst.Port())
	binary.BigEndian.PutUint16(udp[4:], uint16(8+len(payload)))
	udp = append(udp, payload...)

	pseudo := append(src.Addr().AsSlice(), dst.Addr().AsSlice()...)
	pseudo = append(pseudo, 0, 17)
	pseudo = binary.BigEndian.AppendUint16(pseudo, uint16(len(udp)))
	sum := checksum(append(pseudo, udp...))
	if sum == 0 {
		sum = 0xffff // zero means "no checksum"
	}
	binary.BigEndian.PutUint16(udp[6:], sum)
	return IPPacket(src.Addr(), dst.Addr(), 17, udp)
}

// VXLANPacket is a whole IP packet that carries an inner IP packet in VXLAN, as
// a VTEP at src would send it to the one at dst.
func VXLANPacket(src netip.Addr, dst netip.AddrPort, vni uint32, vtep kernel.MAC, inner []byte) []byte {
	vxlan := []byte{0x08, 0, 0, 0, byte(vni >> 16), byte(vni >> 8), byte(vni), 0}
	frame := append(vxlan, vtep[:]...)
	frame = append(frame, 2, 0, 0, 0, 0, 1) // some source MAC
	frame = binary.BigEndian.AppendUint16(frame, etherType(inner))
	return UDPPacket(netip.AddrPortFrom(src, 40000), dst, append(frame, inner...))
}

// TunnelPacket is a whole IP packet that carries an inner IP packet directly:
// IPIP, SIT, or either family in IPv6.
func TunnelPacket(src, dst netip.Addr, inner []byte) []byte {
	const ipip, ipv6 = 4, 41
	if inner[0]>>4 == 4 {
		return IPPacket(src, dst, ipip, inner)
	}
	return IPPacket(src, dst, ipv6, inner)
}

// IPPacket puts an IPv4 or IPv6 header in front of a payload of a protocol.
func IPPacket(src, dst netip.Addr, protocol byte, payload []byte) []byte {
	const ttl = 64
	if src.Is4() {
		h := make([]byte, 20, 20+len(payload))
		h[0] = 0x45
		binary.BigEndian.PutUint16(h[2:], uint16(20+len(payload)))
		h[8], h[9] = ttl, protocol
		copy(h[12:], src.AsSlice())
		copy(h[16:], dst.AsSlice())
		binary.BigEndian.PutUint16(h[10:], checksum(h))
		return append(h, payload...)
	}
	h := make([]byte, 40, 40+len(payload))
	h[0] = 0x60
	binary.BigEndian.PutUint16(h[4:], uint16(len(payload)))
	h[6], h[7] = protocol, ttl
	copy(h[8:], src.AsSlice())
	copy(h[24:], dst.AsSlice())
	return append(h, payload...)
}

func etherType(packet []byte) uint16 {
	if packet[0]>>4 == 4 {
		return 0x0800
	}
	return 0x86dd
}

// checksum is the Internet checksum, RFC 1071.
func checksum(b []byte) uint16 {
	var sum uint32
	for ; len(b) >= 2; b = b[2:] {
		sum += uint32(binary.BigEndian.Uint16(b))
	}
	if len(b) == 1 {
		sum += uint32(b[0]) << 8
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
