package lab

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/ropeway-net/ropeway/kernel"
)

func setLink(t *testing.T, ns *Namespace, name string, change func(*netlink.Handle, netlink.Link) error) {
	t.Helper()
	err := ns.Netlink(func(h *netlink.Handle) error {
		link, err := h.LinkByName(name)
		if err != nil {
			return err
		}
		return change(h, link)
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestProbeTellsWhoRefusesALongPacket(t *testing.T) {
	l := underlay(t, Options{Subnet1: []string{"n1"}})
	setLink(t, l.Router, "world", func(h *netlink.Handle, link netlink.Link) error { return h.LinkSetMTU(link, 1400) })
	for _, family := range []Families{IPv4, IPv6} {
		server, err := l.World.ServeEcho(t.Context(), anyPort(WorldAddr(family)))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = server.Close() }()
		node := l.Node("n1")
		router := l.options.segment(1).gateway[map[Families]int{IPv4: 0, IPv6: 1}[family]].Addr()

		if _, err = node.Probe(t.Context(), server.Addr, 1400); err != nil {
			t.Errorf("%s: 1400 bytes: %v", family, err)
		}
		_, err = node.Probe(t.Context(), server.Addr, 1401)
		var tooBig *TooBigError
		if !errors.As(err, &tooBig) || *tooBig != (TooBigError{MTU: 1400, From: router}) {
			t.Errorf("%s: 1401 bytes: %v, want 1400 from %s", family, err, router)
		}
		if _, err = node.Probe(t.Context(), server.Addr, 1501); !errors.As(err, &tooBig) || tooBig.From.IsValid() {
			t.Errorf("%s: 1501 bytes: %v, want the own interface's refusal", family, err)
		}
		if echo, err := node.Probe(t.Context(), server.Addr, 0); err != nil || echo.PathMTU != 1400 || echo.RoundTrip <= 0 {
			t.Errorf("%s: %+v, %v, want path MTU 1400", family, echo, err)
		}
	}
}

func TestStreamCountsEveryLostPacket(t *testing.T) {
	l := underlay(t, Options{Subnet1: []string{"n1", "n2"}})
	from, to := l.Node("n1"), l.Node("n2")
	stream, err := StartStream(t.Context(), from.Namespace, to.Namespace, to.Address(IPv4), 0)
	if err != nil {
		t.Fatal(err)
	}
	waitSent(t, stream, 50)
	if stats := stream.Stop(); !stats.Clean() || stats.Sent < 50 {
		t.Errorf("undisturbed stream: %s", stats)
	}

	stream, err = StartStream(t.Context(), from.Namespace, to.Namespace, to.Address(IPv6), 0)
	if err != nil {
		t.Fatal(err)
	}
	setLink(t, l.Router, "n2", (*netlink.Handle).LinkSetDown)
	waitSent(t, stream, 50)
	setLink(t, l.Router, "n2", (*netlink.Handle).LinkSetUp)
	waitSent(t, stream, 100)
	if stats := stream.Stop(); stats.Clean() || stats.Received+len(stats.Lost) != stats.Sent {
		t.Errorf("interrupted stream: %s", stats)
	}
}

func waitSent(t *testing.T, s *Stream, packets int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	start := s.Stats().Sent
	err := Poll(ctx, time.Millisecond, func() error {
		if s.Stats().Sent < start+packets {
			return errors.New("stream is slow")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestBulkTransferArrivesWhole(t *testing.T) {
	l := underlay(t, Options{})
	to := l.Node("n3")
	server, err := to.ServeBulk(t.Context(), anyPort(to.Address(IPv6)))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = server.Close() }()
	transfer, err := l.Node("n1").SendBulk(t.Context(), server.Addr, 50*time.Millisecond)
	if err != nil || transfer.Bytes == 0 || transfer.BitsPerSecond() <= 0 {
		t.Errorf("%+v, %v", transfer, err)
	}
}

func TestRawPacketsKeepTheirForgedSource(t *testing.T) {
	l := underlay(t, Options{Subnet1: []string{"n1"}})
	node := l.Node("n1")
	for family, forged := range map[Families]string{IPv4: "198.51.100.7", IPv6: "2001:db8:bad::7"} {
		inbox, err := node.OpenInbox(t.Context(), anyPort(node.Address(family)))
		if err != nil {
			t.Fatal(err)
		}
		defer inbox.Close()
		source := netip.AddrPortFrom(netip.MustParseAddr(forged), 4444)
		if err := l.World.SendRaw(t.Context(), UDPPacket(source, inbox.Addr, []byte("hello"))); err != nil {
			t.Fatal(err)
		}
		letter, ok := inbox.Wait(time.Second)
		if want := (Letter{From: source, Payload: "hello"}); !ok || letter != want {
			t.Errorf("%s: got %v %+v, want %+v", family, ok, letter, want)
		}
	}
}

func TestVXLANPacketIsUnderstoodByTheKernel(t *testing.T) {
	l := underlay(t, Options{Subnet1: []string{"n1"}})
	node := l.Node("n1")
	vtep := kernel.MAC{2, 1, 2, 3, 4, 5}
	inside := netip.MustParseAddr("10.99.0.1")
	err := node.Netlink(func(h *netlink.Handle) error {
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.HardwareAddr = "vx", vtep[:]
		if err := h.LinkAdd(&netlink.Vxlan{LinkAttrs: attrs, VxlanId: 77, Port: 4789}); err != nil {
			return err
		}
		return setUp(h, "vx", []netip.Prefix{netip.PrefixFrom(inside, 24)})
	})
	if err != nil {
		t.Fatal(err)
	}
	inbox, err := node.OpenInbox(t.Context(), anyPort(inside))
	if err != nil {
		t.Fatal(err)
	}
	defer inbox.Close()
	capture, err := node.StartCapture(t.Context(), "vx")
	if err != nil {
		t.Fatal(err)
	}
	inner := UDPPacket(netip.MustParseAddrPort("10.99.0.2:5"), inbox.Addr, []byte("stranger"))
	target := netip.AddrPortFrom(node.Address(IPv4), 4789)
	if err := l.World.SendRaw(t.Context(), VXLANPacket(WorldAddr(IPv4), target, 77, vtep, inner)); err != nil {
		t.Fatal(err)
	}
	if letter, ok := inbox.Wait(time.Second); !ok || letter.Payload != "stranger" {
		t.Errorf("got %v %+v", ok, letter)
	}
	found := false
	for _, packet := range capture.Stop() {
		found = found || string(packet) == string(inner)
	}
	if !found {
		t.Error("the capture does not hold the packet")
	}
}
