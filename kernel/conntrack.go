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
	// What the kernel compares, and nothing else.
	filterSrc   = 1 << 0
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
	client   netip.AddrPort // who began it
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
				f.client, f.To, f.protocol = t.src, t.dst, t.protocol
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

// flowFilter makes the kernel list some flows alone: there may be hundreds of
// thousands of others. The zero flowFilter is all of them.
type flowFilter struct {
	protocol Protocol   // 0: any
	client   netip.Addr // who began it; zero: anybody
	from     netip.Addr // where the answers come from; zero: anywhere
}

// matches says what a kernel does not that is too old for filters.
func (f flowFilter) matches(t trackedFlow) bool {
	return (f.protocol == 0 || f.protocol == t.protocol) &&
		(!f.client.IsValid() || f.client == t.client.Addr()) &&
		(!f.from.IsValid() || f.from == t.From.Addr())
}

func (f flowFilter) attributes() ([]netlink.Attribute, error) {
	if f == (flowFilter{}) {
		return nil, nil
	}
	orig, origFlags, err := filterTuple(f.client, f.protocol)
	if err != nil {
		return nil, err
	}
	reply, replyFlags, err := filterTuple(f.from, 0)
	if err != nil {
		return nil, err
	}
	filter, err := netlink.MarshalAttributes([]netlink.Attribute{
		{Type: ctaFilterOrigFlags, Data: binary.NativeEndian.AppendUint32(nil, origFlags)},
		{Type: ctaFilterReplyFlags, Data: binary.NativeEndian.AppendUint32(nil, replyFlags)},
	})
	if err != nil {
		return nil, err
	}
	list := []netlink.Attribute{{Type: unix.NLA_F_NESTED | ctaFilter, Data: filter}}
	if origFlags != 0 {
		list = append(list, netlink.Attribute{Type: unix.NLA_F_NESTED | ctaTupleOrig, Data: orig})
	}
	if replyFlags != 0 {
		list = append(list, netlink.Attribute{Type: unix.NLA_F_NESTED | ctaTupleReply, Data: reply})
	}
	return list, nil
}

// filterTuple is the part of a filter that is about one direction.
func filterTuple(src netip.Addr, p Protocol) (tuple []byte, flags uint32, err error) {
	var parts []netlink.Attribute
	nest := func(outer uint16, inner netlink.Attribute) error {
		data, failure := netlink.MarshalAttributes([]netlink.Attribute{inner})
		parts = append(parts, netlink.Attribute{Type: unix.NLA_F_NESTED | outer, Data: data})
		return failure
	}
	if src.IsValid() {
		typ := uint16(ctaIPv4Src)
		if src.Is6() {
			typ = ctaIPv6Src
		}
		flags |= filterSrc
		if err = nest(ctaTupleIP, netlink.Attribute{Type: typ, Data: src.AsSlice()}); err != nil {
			return nil, 0, err
		}
	}
	if p != 0 {
		flags |= filterProto
		if err = nest(ctaTupleProto, netlink.Attribute{Type: ctaProtoNum, Data: []byte{byte(p)}}); err != nil {
			return nil, 0, err
		}
	}
	tuple, err = netlink.MarshalAttributes(parts)
	return tuple, flags, err
}
