package kernel

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// flowMessage is what the kernel lists for a flow, near enough.
func flowMessage(tb testing.TB, to, from netip.AddrPort, p Protocol) []byte {
	nested := func(typ uint16, list ...netlink.Attribute) netlink.Attribute {
		return netlink.Attribute{Type: unix.NLA_F_NESTED | typ, Data: attributes(tb, list...)}
	}
	port := func(typ uint16, v uint16) netlink.Attribute {
		return netlink.Attribute{Type: typ, Data: binary.BigEndian.AppendUint16(nil, v)}
	}
	addr := func(typ uint16, a netip.Addr) netlink.Attribute {
		return netlink.Attribute{Type: typ, Data: a.AsSlice()}
	}
	src, dst := uint16(ctaIPv4Src), uint16(ctaIPv4Dst)
	if to.Addr().Is6() {
		src, dst = ctaIPv6Src, ctaIPv6Dst
	}
	client := netip.AddrPortFrom(to.Addr(), 40000)
	direction := func(typ uint16, a, b netip.AddrPort) netlink.Attribute {
		return nested(typ, nested(ctaTupleIP, addr(src, a.Addr()), addr(dst, b.Addr())),
			nested(ctaTupleProto, netlink.Attribute{Type: ctaProtoNum, Data: []byte{byte(p)}}, port(ctaProtoSrcPort, a.Port()), port(ctaProtoDstPort, b.Port())))
	}
	return message(tb, direction(ctaTupleOrig, client, to), direction(ctaTupleReply, from, client),
		netlink.Attribute{Type: ctaID, Data: []byte{1, 2, 3, 4}})
}

func TestDecodeFlow(t *testing.T) {
	for _, tt := range []struct {
		to, from   string
		translated bool
	}{
		{"192.0.2.1:53", "192.0.2.1:53", false},
		{"192.0.2.1:53", "10.244.1.5:5353", true},
		{"[fd00::1]:53", "[fd01::5]:53", true},
	} {
		to, from := netip.MustParseAddrPort(tt.to), netip.MustParseAddrPort(tt.from)
		f, err := decodeFlow(flowMessage(t, to, from, UDP))
		if err != nil || f.To != to || f.From != from || f.protocol != UDP || f.Translated() != tt.translated || len(f.name) != 2 {
			t.Errorf("%s: decoded to %+v, error %v", tt.to, f, err)
		}
	}
}

func FuzzDecodeFlowWithoutPanic(f *testing.F) {
	to, to6 := netip.MustParseAddrPort("192.0.2.1:53"), netip.MustParseAddrPort("[fd00::1]:53")
	f.Add(flowMessage(f, to, to, UDP))
	f.Add(flowMessage(f, to6, to6, SCTP))
	f.Add([]byte{2, 0, 0, 0, 5, 0, 1, 128, 0})
	f.Fuzz(func(_ *testing.T, message []byte) {
		if flow, err := decodeFlow(message); err == nil {
			_, _ = netlink.MarshalAttributes(flow.name)
		}
	})
}
