package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ropeway-net/ropeway/daemon/topology"
	"github.com/ropeway-net/ropeway/integration/kube"
)

func TestPlannedRunsAreThoseThatAreAskedFor(t *testing.T) {
	full := func(m topology.Mode) []kube.Run {
		return []kube.Run{{Mode: m, Proxy: kube.NFTables, Selection: kube.Conformant}, {Mode: m, Proxy: kube.NFTables, Selection: kube.Further}}
	}
	iptables := func(m topology.Mode) []kube.Run {
		return []kube.Run{{Mode: m, Proxy: kube.IPTables, Selection: kube.Short}}
	}
	for _, tc := range []struct {
		name  string
		mode  topology.Mode
		proxy kube.Proxy
		specs kube.Selection
		want  [][]kube.Run
	}{
		{"everything", "", "", "", [][]kube.Run{iptables(topology.VXLAN), full(topology.VXLAN), full(topology.VXLANCrossSubnet), full(topology.Direct)}},
		{"one mode", topology.Direct, "", "", [][]kube.Run{full(topology.Direct)}},
		{"one proxy", "", kube.IPTables, "", [][]kube.Run{iptables(topology.VXLAN)}},
		{"one mode with a proxy", topology.Direct, kube.IPTables, "", [][]kube.Run{iptables(topology.Direct)}},
		{"one selection of a mode", topology.VXLAN, kube.NFTables, kube.Further, [][]kube.Run{full(topology.VXLAN)[1:]}},
		{"nothing fits", topology.VXLAN, kube.NFTables, kube.Short, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, plannedRuns(tc.mode, tc.proxy, tc.specs)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
