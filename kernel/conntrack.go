package kernel

import (
	"encoding/binary"
	"net/netip"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Attributes of conntrack messages, from linux/netfilter/nfnetlink_conntrack.h.
const (
	ctGet, ctDelete = 1, 2

	ctaTupleOrig  = 1
	ctaTupleReply = 2
	ctaID         = 12
	ctaZone       = 18
	ctaFilter     = 25 // Linux 5.8; an older kernel lists everything

	ctaTupleIP    = 1
	ctaTupleProto = 2

	ctaIPv4Src, ctaIPv4Dst = 1, 2
	ctaIPv6Src, ctaIPv6Dst = 3, 4

	ctaProtoNum     = 1
	ctaProtoSrcPort = 2
	ctaProtoDstPort = 3

	ctaFilterOrigFlags  = 1
	ctaFilterReplyFlags = 2
	// filterProto makes the kernel compare the protocol, and nothing else.
	filterProto = 1 << 3
)

// Flow is a tracked exchange of UDP packets.
type Flow struct {
	// To is where its packets were sent, From where the answers come from;
	// both are the same unless the destination was translated.
	To, From netip.AddrPort
}

// Translated says whether the flow's destination was.
func (f Flow) Translated() bool { return f.To != f.From }

// trackedFlow is a flow with what names it to the kernel.
type trackedFlow struct {
	Flow
	protocol Protocol
	name     []netlink.Attribute
}

// decodeFlow reads an entry of the kernel's list. One that is cut short or
// of another protocol has zero fields.
func decodeFlow(message []byte) (f trackedFlow, err error) {
	err = decodeAttributes(message, func(ad *netlink.AttributeDecoder) error {
		switch ad.Type() {
		case ctaTupleOrig:
			f.name = append(f.name, netlink.Attribute{Type: unix.NLA_F_NESTED | ctaTupleOrig, Data: ad.Bytes()})
			ad.Nested(func(ad *netlink.AttributeDecoder) error {
				t, cause := decodeTuple(ad)
				f.To, f.protocol = t.dst, t.protocol
				return cause
			})
		case ctaTupleReply:
			ad.Nested(func(ad *netlink.AttributeDecoder) error {
				t, cause := decodeTuple(ad)
				f.From = t.src
				return cause
			})
		case ctaID, ctaZone:
			f.name = append(f.name, netlink.Attribute{Type: ad.Type(), Data: ad.Bytes()})
		}
		return nil
	})
	return f, err
}

// tuple is one direction of a flow.
type tuple struct {
	src, dst netip.AddrPort
	protocol Protocol
}

func decodeTuple(ad *netlink.AttributeDecoder) (tuple, error) {
	var src, dst netip.Addr
	var srcPort, dstPort uint16
	var t tuple
	err := eachAttribute(func(ad *netlink.AttributeDecoder) error {
		switch ad.Type() {
		case ctaTupleIP:
			ad.Nested(eachAttribute(func(ad *netlink.AttributeDecoder) error {
				switch ad.Type() {
				case ctaIPv4Src, ctaIPv6Src:
					src, _ = netip.AddrFromSlice(ad.Bytes())
				case ctaIPv4Dst, ctaIPv6Dst:
					dst, _ = netip.AddrFromSlice(ad.Bytes())
				}
				return nil
			}))
		case ctaTupleProto:
			ad.Nested(eachAttribute(func(ad *netlink.AttributeDecoder) error {
				switch ad.Type() {
				case ctaProtoNum:
					t.protocol = Protocol(ad.Uint8())
				case ctaProtoSrcPort:
					srcPort = ad.Uint16()
				case ctaProtoDstPort:
					dstPort = ad.Uint16()
				}
				return nil
			}))
		}
		return nil
	})(ad)
	t.src, t.dst = netip.AddrPortFrom(src, srcPort), netip.AddrPortFrom(dst, dstPort)
	return t, err
}

// onlyUDP asks the kernel to list UDP flows alone: there may be hundreds of
// thousands of others.
func onlyUDP() ([]netlink.Attribute, error) {
	proto, err := netlink.MarshalAttributes([]netlink.Attribute{{Type: ctaProtoNum, Data: []byte{byte(UDP)}}})
	if err != nil {
		return nil, err
	}
	orig, err := netlink.MarshalAttributes([]netlink.Attribute{{Type: unix.NLA_F_NESTED | ctaTupleProto, Data: proto}})
	if err != nil {
		return nil, err
	}
	filter, err := netlink.MarshalAttributes([]netlink.Attribute{
		{Type: ctaFilterOrigFlags, Data: binary.NativeEndian.AppendUint32(nil, filterProto)},
		{Type: ctaFilterReplyFlags, Data: binary.NativeEndian.AppendUint32(nil, 0)},
	})
	if err != nil {
		return nil, err
	}
	return []netlink.Attribute{
		{Type: unix.NLA_F_NESTED | ctaTupleOrig, Data: orig},
		{Type: unix.NLA_F_NESTED | ctaFilter, Data: filter},
	}, nil
}
