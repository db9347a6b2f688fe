package topology

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ropeway-net/ropeway/hostports"
	"github.com/ropeway-net/ropeway/kernel"
)

func TestHostPortsAreElementsOfMaps(t *testing.T) {
	in := fixture(VXLAN, dual, dual)
	in.Endpoints[0].HostPorts = []hostports.Port{
		{HostPort: 8080, ContainerPort: 80, Protocol: kernel.TCP},
		{HostIP: netip.MustParseAddr("192.168.1.11"), HostPort: 53, ContainerPort: 5353, Protocol: kernel.UDP},
	}
	in.Interfaces = append(in.Interfaces, kernel.Interface{Name: kernel.ServiceLink, Kind: "dummy", Addresses: []netip.Prefix{
		netip.MustParsePrefix("10.96.0.1/32"), netip.MustParsePrefix("fd00:10:96::1/128"), netip.MustParsePrefix("fe80::1/64"),
	}})
	pod := in.Endpoints[0].Addresses
	r, err := Compute(in)
	if err != nil {
		t.Fatal(err)
	}
	want := hostports.Table()
	hostports.Open(want, hostports.Targets(in.Endpoints[0].HostPorts, pod))
	hostports.HideServices(want, []netip.Addr{netip.MustParseAddr("10.96.0.1"), netip.MustParseAddr("fd00:10:96::1")})
	text := r.State.Table.String()
	for line := range strings.Lines(want.String()) {
		if !strings.Contains(text, line) {
			t.Errorf("the table lacks %s", line)
		}
	}
	if n := strings.Count(text, "8080 : "); n != len(pod) {
		t.Errorf("%d elements for port 8080, want %d", n, len(pod))
	}

	for name, change := range map[string]func(*Input){
		"link down":    func(in *Input) { in.PodLinks[in.Endpoints[0].HostLink] = kernel.AdminDown },
		"no link":      func(in *Input) { delete(in.PodLinks, in.Endpoints[0].HostLink) },
		"earlier boot": func(in *Input) { in.Endpoints[0].BootID = "before" },
	} {
		in := fixture(VXLAN, dual, dual)
		in.Endpoints[0].HostPorts = []hostports.Port{{HostPort: 8080, ContainerPort: 80, Protocol: kernel.TCP}}
		change(&in)
		r, err := Compute(in)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(r.State.Table.String(), "8080") {
			t.Errorf("%s: the port is open", name)
		}
	}
}

func TestEarlierAttachmentKeepsAHostPort(t *testing.T) {
	in := fixture(Direct, only4, only4)
	first := in.Endpoints[0]
	first.HostPorts = []hostports.Port{
		{HostPort: 80, ContainerPort: 80, Protocol: kernel.TCP},
		{HostIP: netip.MustParseAddr("192.168.1.11"), HostPort: 80, ContainerPort: 81, Protocol: kernel.TCP},
	}
	second := first
	second.ContainerID, second.HostLink, second.Created = "second", "rwpsecond", first.Created.Add(time.Minute)
	second.Addresses = []netip.Addr{netip.MustParseAddr("10.244.1.77")}
	second.HostPorts = []hostports.Port{
		{HostPort: 80, ContainerPort: 1, Protocol: kernel.TCP},
		{HostIP: netip.MustParseAddr("10.1.1.1"), HostPort: 80, ContainerPort: 1, Protocol: kernel.TCP},
		{HostPort: 80, ContainerPort: 80, Protocol: kernel.UDP},
	}
	in.PodLinks[second.HostLink] = kernel.AdminUp
	in.Endpoints = append(in.Endpoints[:0:0], second, first)
	r, err := Compute(in)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for name, m := range r.State.Table.Maps {
		for k, to := range m.Elements {
			got[name+" "+k.String()] = to.String()
		}
	}
	a := first.Addresses[0].String()
	want := map[string]string{
		"host-ports4 tcp . 80": a + ":80", "host-ports-on4 192.168.1.11 . tcp . 80": a + ":81", "host-ports4 udp . 80": "10.244.1.77:80",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	problems := 0
	for _, p := range r.Problems {
		if strings.Contains(p.Error(), "host port tcp 80") && strings.Contains(p.Error(), "second") && strings.Contains(p.Error(), first.ContainerID) {
			problems++
		}
	}
	if problems != 2 {
		t.Errorf("problems: %v", r.Problems)
	}
}
