package main

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"testing"

	"github.com/containernetworking/cni/pkg/types"
	"github.com/google/go-cmp/cmp"

	"github.com/ropeway-net/ropeway/kernel"
)

func TestPrintedResultIsTheLibrarys(t *testing.T) {
	four, six := netip.MustParseAddr("10.244.1.5"), netip.MustParseAddr("fd00::5")
	for name, addresses := range map[string][]netip.Addr{"IPv4": {four}, "IPv6": {six}, "both": {four, six}} {
		for _, version := range []string{"0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"} {
			for _, dns := range []types.DNS{{}, {Nameservers: []string{"10.0.0.10"}, Domain: "a<b", Search: []string{"c"}, Options: []string{"ndots:5"}}} {
				link := kernel.PodLink{
					HostName: "rwp0123", Name: "eth0", MAC: kernel.MAC{2, 1, 2, 3, 4, 5}, MTU: 1450, Addresses: addresses,
					Routes: append(kernel.DefaultRoutes(addresses), netip.MustParsePrefix("10.50.0.0/16")),
				}
				got := printed(link, "/run/netns/a", dns, version)
				var want bytes.Buffer
				result, err := newResult(link, "/run/netns/a", dns).GetAsVersion(version)
				if err == nil {
					err = result.PrintTo(&want)
				}
				if err != nil {
					t.Fatal(err)
				}
				var a, b any
				if err := json.Unmarshal(got, &a); err != nil {
					t.Fatalf("%s: %v", got, err)
				}
				if err := json.Unmarshal(want.Bytes(), &b); err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(b, a); diff != "" {
					t.Errorf("%s, version %s: -library +printed:\n%s", name, version, diff)
				}
			}
		}
	}
}
