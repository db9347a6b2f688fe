package main

import (
	"encoding/json"
	"testing"

	types100 "github.com/containernetworking/cni/pkg/types/100"
	"github.com/google/go-cmp/cmp"
)

func TestAddKeepsTheResultOfAnEarlierPlugin(t *testing.T) {
	for _, version := range []string{"0.3.1", "1.1.0"} {
		t.Run(version, func(t *testing.T) {
			n, pod := newNode(t), newNetns(t)
			earlier := map[string]any{
				"cniVersion": version,
				"interfaces": []any{map[string]any{"name": "first0", "sandbox": pod}},
				"ips":        []any{map[string]any{"version": "4", "address": "198.51.100.7/24", "interface": 0}},
				"routes":     []any{map[string]any{"dst": "203.0.113.0/24"}},
				"dns":        map[string]any{"nameservers": []any{"192.0.2.53"}},
			}
			r := n.add(call{id: "a", netns: pod, conf: n.conf("cniVersion", version, "prevResult", earlier)})
			var names, ips []string
			for _, i := range r.Interfaces {
				names = append(names, i.Name)
			}
			for _, ip := range r.IPs {
				ips = append(ips, ip.Address.String()+" "+r.Interfaces[*ip.Interface].Name)
			}
			record := n.record("a")
			if diff := cmp.Diff([]string{"first0", record.HostLink, "eth0"}, names); diff != "" {
				t.Errorf("interfaces (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff([]string{"198.51.100.7/24 first0", "10.99.0.2/32 eth0", "fd99::2/128 eth0"}, ips); diff != "" {
				t.Errorf("addresses (-want +got):\n%s", diff)
			}
			if len(r.Routes) != 3 || r.Routes[0].Dst.String() != "203.0.113.0/24" || len(r.DNS.Nameservers) != 1 {
				t.Errorf("routes %v, dns %v", r.Routes, r.DNS)
			}
			if version == "1.1.0" {
				n.must(call{verb: "CHECK", id: "a", netns: pod, conf: withPrevResult(t, n.conf(), r)})
			}
			n.must(call{verb: "DEL", id: "a", netns: pod, conf: n.conf()})
			n.wantNothingLeft()
		})
	}
}

func TestAddRefusesAResultThatIsNone(t *testing.T) {
	n := newNode(t)
	n.wantError(call{verb: "ADD", id: "a", netns: newNetns(t), conf: n.conf("prevResult", "nonsense")}, 6, "prevResult")
	n.wantNothingLeft()
}

func TestDelegateGetsThePrevResultOfNowWithTheConfigurationOfAdd(t *testing.T) {
	for name, tt := range map[string]struct{ config, now, want string }{
		"new":     {`{"a":1}`, `{"b":2,"prevResult":{"c":3}}`, `{"a":1,"prevResult":{"c":3}}`},
		"none":    {`{"a":1}`, `{"b":2}`, `{"a":1}`},
		"no JSON": {`{"a":1}`, `{`, `{"a":1}`},
	} {
		t.Run(name, func(t *testing.T) {
			got := withPresentResult([]byte(tt.config), []byte(tt.now))
			if !json.Valid(got) || string(got) != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

func TestJoinedResultPointsToItsInterfaces(t *testing.T) {
	own := &types100.Result{Interfaces: []*types100.Interface{{Name: "b"}}, IPs: []*types100.IPConfig{{Interface: types100.Int(0)}}}
	previous := &types100.Result{Interfaces: []*types100.Interface{{Name: "a"}}}
	if r := joined(previous, own); r.Interfaces[*r.IPs[0].Interface].Name != "b" || *own.IPs[0].Interface != 0 {
		t.Errorf("%+v", r)
	}
}
