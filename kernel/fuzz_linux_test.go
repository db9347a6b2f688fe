package kernel

import (
	"encoding/binary"
	"maps"
	"strings"
	"testing"

	mdl "github.com/mdlayher/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// FuzzNewsOfTheKernel gives a watch what no kernel sends. Of links that are not
// ours it must make none of ours.
func FuzzNewsOfTheKernel(f *testing.F) {
	link := make([]byte, unix.SizeofIfInfomsg)
	binary.NativeEndian.PutUint32(link[4:], 7)
	for _, name := range []string{"eth0", PodLinkPrefix + "1", TunnelPrefix + "vxlan"} {
		named := append(link[:len(link):len(link)], nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(name)).Serialize()...)
		f.Add(uint16(unix.RTM_NEWLINK), uint16(0), named)
		f.Add(uint16(unix.RTM_DELLINK), uint16(0), named)
	}
	route := append([]byte{unix.AF_INET, 32, 0, 0, unix.RT_TABLE_MAIN, RouteProtocol, 0, 1, 0, 0, 0, 0}, nl.NewRtAttr(unix.RTA_OIF, nl.Uint32Attr(7)).Serialize()...)
	f.Add(uint16(unix.RTM_NEWROUTE), uint16(unix.NLM_F_REPLACE), route)
	f.Add(uint16(unix.RTM_NEWNETCONF), uint16(0), append([]byte{unix.AF_INET, 0, 0, 0}, nl.NewRtAttr(netconfIfIndex, nl.Uint32Attr(7)).Serialize()...))
	f.Add(uint16(unix.RTM_NEWADDR), uint16(0), link)
	f.Add(uint16(unix.RTM_NEWNEIGH), uint16(0), []byte{1, 2, 3})
	f.Add(uint16(unix.RTM_NEWQDISC), uint16(0), []byte{})
	f.Fuzz(func(t *testing.T, kind, flags uint16, data []byte) {
		known := &linkReports{byIndex: map[int32]Report{7: PodsChanged, 8: Changed, 9: nothing}}
		before := maps.Clone(known.byIndex)
		m := mdl.Message{Header: mdl.Header{Type: mdl.HeaderType(kind), Flags: mdl.HeaderFlags(flags)}, Data: data}
		ownership{tunnels: map[int32]bool{8: true}}.damaged(m)
		if r := known.judge(m); r < nothing || r > Changed {
			t.Errorf("report %d", r)
		}
		if kind != unix.RTM_NEWLINK && kind != unix.RTM_DELLINK && !maps.Equal(known.byIndex, before) {
			t.Errorf("a message of type %d has changed what is known of links: %v", kind, known.byIndex)
		}
	})
}

func FuzzParseProcessStatus(f *testing.F) {
	for _, seed := range []string{
		"Name:\tip\nPid:\t7\nNSpid:\t7\t1\nVmSize:\t 100 kB\n", "Name:\tkworker/0:1\nNSpid:\t9\n", "", "Name:", "NSpid:\nName:\ta\n", ":\n\x00",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if p, ok := parseProcessStatus(b); ok != (p.name != "") || strings.ContainsAny(p.name, "\n") {
			t.Errorf("%q: %+v, %v", b, p, ok)
		}
	})
}

func FuzzParseMAC(f *testing.F) {
	for _, seed := range []string{"02:00:00:00:00:01", "02-00-00-00-00-01", "0200.0000.0001", "", "ff:ff:ff:ff:ff:ff", "02:00:00:00:00:00:00:01", "0g:00"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		mac, err := ParseMAC(s)
		if err != nil {
			return
		}
		if again, err := ParseMAC(mac.String()); err != nil || again != mac {
			t.Errorf("%q became %s, and that %s, %v", s, mac, again, err)
		}
	})
}
