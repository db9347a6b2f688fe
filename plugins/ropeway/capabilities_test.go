package main

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/containernetworking/cni/pkg/types"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/ropeway-net/ropeway/endpoint"
	"github.com/ropeway-net/ropeway/hostports"
	"github.com/ropeway-net/ropeway/kernel"
)

// runtimes are what two runtimes send for the same wishes: containerd's
// structures have no JSON names, CRI-O's have those of the conventions.
func runtimes() map[string]string {
	return map[string]string{
		"containerd": `{
			"PortMappings": [{"HostPort": 8080, "ContainerPort": 80, "Protocol": "tcp", "HostIP": ""}],
			"DNS": {"Servers": ["10.0.0.10"], "Searches": ["svc.cluster.local"], "Options": ["ndots:5"]},
			"IPRanges": [[{"Subnet": "10.88.0.0/24", "RangeStart": "10.88.0.10", "RangeEnd": "10.88.0.20", "Gateway": "10.88.0.1"}]],
			"IPs": ["10.88.0.15"], "MAC": "02:00:00:00:00:15", "Aliases": ["web", "www"],
			"CgroupPath": "/kubepods/pod1", "io.kubernetes.cri.pod-annotations": {"a": "b"}}`,
		"CRI-O": `{
			"portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}],
			"dns": {"servers": ["10.0.0.10"], "searches": ["svc.cluster.local"], "options": ["ndots:5"]},
			"ipRanges": [[{"subnet": "10.88.0.0/24", "rangeStart": "10.88.0.10", "rangeEnd": "10.88.0.20", "gateway": "10.88.0.1"}]],
			"ips": ["10.88.0.15"], "mac": "02:00:00:00:00:15", "aliases": ["web", "www"],
			"cgroupPath": "/kubepods/pod1", "io.kubernetes.cri.pod-annotations": {"a": "b"}}`,
	}
}

func TestCapabilitiesAreMetInAnyLetterCase(t *testing.T) {
	for name, config := range runtimes() {
		t.Run(name, func(t *testing.T) {
			n, pod := newNode(t), newNetns(t)
			conf := n.conf("runtimeConfig", json.RawMessage(config),
				"dns", map[string]any{"nameservers": []string{"192.0.2.53"}})
			r := n.add(call{id: "a", netns: pod, conf: conf, args: "K8S_POD_INFRA_CONTAINER_ID=a;K8S_POD_UID=u-1;IgnoreUnknown=1;K8S_POD_NAME=web;K8S_POD_NAMESPACE=default"})
			if len(r.IPs) != 1 || r.IPs[0].Address.IP.String() != "10.88.0.15" || r.Interfaces[1].Mac != "02:00:00:00:00:15" {
				t.Errorf("result %v", r)
			}
			want := types.DNS{Nameservers: []string{"10.0.0.10"}, Search: []string{"svc.cluster.local"}, Options: []string{"ndots:5"}}
			if diff := cmp.Diff(want, r.DNS); diff != "" {
				t.Errorf("DNS of the result (-want +got):\n%s", diff)
			}
			got := n.record("a")
			kept := endpoint.Record{
				Pod: endpoint.Pod{Namespace: "default", Name: "web", UID: "u-1", InfraContainerID: "a"},
				MAC: kernel.MAC{2, 0, 0, 0, 0, 0x15}, Addresses: []netip.Addr{netip.MustParseAddr("10.88.0.15")},
				HostPorts: []hostports.Port{{HostPort: 8080, ContainerPort: 80, Protocol: kernel.TCP}},
				DNS:       &endpoint.DNS{Servers: []string{"10.0.0.10"}, Searches: []string{"svc.cluster.local"}, Options: []string{"ndots:5"}},
				Aliases:   []string{"web", "www"},
			}
			if diff := cmp.Diff(kept, endpoint.Record{
				Pod: got.Pod, MAC: got.MAC, Addresses: got.Addresses, HostPorts: got.HostPorts, DNS: got.DNS, Aliases: got.Aliases,
			}, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
				t.Errorf("record (-want +got):\n%s", diff)
			}
			n.must(call{verb: "CHECK", id: "a", netns: pod, conf: withPrevResult(t, conf, r)})
			n.must(call{verb: "DEL", id: "a", conf: conf})
			n.wantNothingLeft()
			n.wantNoPorts()
		})
	}
}

func TestWishesThatNoRecordShouldHoldAreRefused(t *testing.T) {
	n := newNode(t)
	many := make([]string, maxWishes+1)
	for i := range many {
		many[i] = fmt.Sprint("name", i)
	}
	for name, tt := range map[string]struct {
		config map[string]any
		word   string
	}{
		"too many aliases":  {map[string]any{"aliases": many}, "runtimeConfig.aliases: 101"},
		"long search":       {map[string]any{"dns": map[string]any{"searches": []string{strings.Repeat("a", maxWishLength+1)}}}, "runtimeConfig.dns.searches[0]"},
		"control character": {map[string]any{"aliases": []string{"web", "a\nb"}}, "runtimeConfig.aliases[1]"},
		"empty server":      {map[string]any{"dns": map[string]any{"servers": []string{""}}}, "runtimeConfig.dns.servers[0]"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := parseConf([]byte(n.conf("runtimeConfig", tt.config)), "")
			if err == nil || !strings.Contains(err.Error(), tt.word) {
				t.Errorf("error %v, want %q", err, tt.word)
			}
		})
	}
	if _, err := parseConf([]byte(n.conf("runtimeConfig", map[string]any{"aliases": nil, "dns": nil, "cgroupPath": 5})), ""); err != nil {
		t.Error(err)
	}
}
