package main

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ropeway-net/ropeway/daemon/status"
	"github.com/ropeway-net/ropeway/daemon/topology"
)

func TestStatusIsReadable(t *testing.T) {
	now := time.Unix(100, 0)
	tests := []struct {
		name string
		in   status.Report
		want string
	}{
		{"ready", status.Report{
			Node: "n1", Mode: topology.VXLANCrossSubnet, Ready: true, Pods: 3, PodMTU: 1450,
			Address:  status.Address{Addresses: []netip.Addr{netip.MustParseAddr("192.168.1.11")}, Reason: "192.168.1.11 on eth0 as listed"},
			PodCIDRs: []netip.Prefix{netip.MustParsePrefix("10.244.1.0/24")},
			Nodes:    status.Nodes{Count: 2, Origin: "nodes file /n.yaml"},
			Last:     status.Pass{Time: time.Unix(90, 0), Duration: 2 * time.Millisecond, Operations: 4},
			Drift:    map[string]int{"route": 2, "fdb": 1},
			Problems: []string{"node n3 is gone\nreally"},
			Reachability: &status.Reachability{Probed: 2, Silent: 1, Obstacle: "no IPv6", Unreachable: []status.Unreachable{
				{Peer: "n2", Via: topology.ViaVXLAN, Since: time.Unix(40, 0), Reason: "it is down"},
			}},
			Paths: []topology.Path{
				{Peer: "n2", PodCIDR: netip.MustParsePrefix("10.244.2.0/24"), Via: topology.ViaDirect, NextHop: netip.MustParseAddr("192.168.1.12"), Link: "eth0", Reason: "same subnet"},
				{Peer: "n3", PodCIDR: netip.MustParsePrefix("10.244.3.0/24"), Via: topology.ViaRefused, Reason: "behind a router"},
			},
		}, `
node        n1
mode        vxlan-cross-subnet
ready       yes
address     192.168.1.11 on eth0 as listed
pods        3 in 10.244.1.0/24, MTU 1450
nodes       2 from nodes file /n.yaml
reconciled  10s ago in 2ms, 4 changes
drift       repaired 1 fdb, 2 route
problem     node n3 is gone
            really
peers       2 probed, 1 unreachable
peers       not all probed: no IPv6
peers       n2 (vxlan) for 1m0s: it is down

PEER  PODS           VIA      NEXT HOP      LINK  REASON
n2    10.244.2.0/24  direct   192.168.1.12  eth0  same subnet
n3    10.244.3.0/24  refused  -             -     behind a router
`},
		{"nothing known yet", status.Report{
			Node: "n1", Mode: topology.IPIP, Reason: "waiting", Nodes: status.Nodes{Error: "no file"},
		}, `
node   n1
mode   ipip
ready  no: waiting
       not up to date: no file
drift  none repaired
`},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			var b strings.Builder
			if err := printStatus(&b, tc.in, now); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(strings.TrimPrefix(tc.want, "\n"), b.String()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
