package probe

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/ropeway-net/ropeway/daemon/topology"
)

func TestEachWayToAPeerIsProbedOnce(t *testing.T) {
	path := func(peer, cidr string, via topology.Via, hop string) topology.Path {
		p := topology.Path{Peer: peer, PodCIDR: netip.MustParsePrefix(cidr), Via: via}
		if hop != "" {
			p.NextHop = netip.MustParseAddr(hop)
		}
		return p
	}
	target := func(peer string, via topology.Via, address, node string) Target {
		return Target{Peer: peer, Via: via, Address: netip.MustParseAddr(address), Node: netip.MustParseAddr(node)}
	}
	got := Targets([]topology.Path{
		path("n2", "10.244.2.0/24", topology.ViaVXLAN, "172.31.1.12"),
		path("n2", "fd00:2::/64", topology.ViaVXLAN, "172.31.1.12"),
		path("n3", "10.244.3.0/24", topology.ViaDirect, "172.31.1.13"),
		path("n3", "fd00:3::/64", topology.ViaDirect, "fd31::13"),
		path("n4", "10.244.4.0/24", topology.ViaIPIP, "172.31.1.14"),
		path("n4", "fd00:4::/64", topology.ViaSIT, "172.31.1.14"),
		path("n5", "10.244.5.0/24", topology.ViaRefused, ""),
		path("n6", "10.244.6.0/31", topology.ViaVXLAN, "172.31.1.16"),
	})
	want := []Target{
		target("n2", topology.ViaVXLAN, "10.244.2.1", "172.31.1.12"),
		target("n3", topology.ViaDirect, "172.31.1.13", "172.31.1.13"),
		target("n4", topology.ViaIPIP, "10.244.4.1", "172.31.1.14"),
		target("n4", topology.ViaSIT, "fd00:4::1", "172.31.1.14"),
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
