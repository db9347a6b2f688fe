package topology

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ropeway-net/ropeway/kernel"
)

// Who may write a service chooses what kube-ipvs0 holds: external IPs come
// there as they are.
func TestAddressesOfServicesAreNoUnderlay(t *testing.T) {
	in := fixture(IPIPCrossSubnet, dual, dual)
	plain, err := Compute(in)
	if err != nil {
		t.Fatal(err)
	}
	services := kernel.Interface{Name: kernel.ServiceLink, Kind: "dummy", MTU: 9000, Addresses: prefixes(
		"10.96.0.1/32", "fd00:10:96::1/128",
		"10.244.1.200/32", "fd00:10:244:1::200/128", // in the node's own pod CIDRs
		"10.244.2.200/32", "fd00:10:244:2::200/128", // in a peer's
		"192.168.1.11/32", "fd00:1::11/128", "192.168.1.12/32", // nodes
	)}
	cache := kernel.Interface{Name: "nodelocaldns", Kind: "dummy", MTU: 1500, Addresses: prefixes("169.254.20.10/32", "10.96.0.10/32")}
	// An underlay that comes behind kube-ipvs0 by name must be found all the same.
	for _, uplink := range []string{"eth0", "wlan0"} {
		in := fixture(IPIPCrossSubnet, dual, dual)
		in.Interfaces[1].Name = uplink
		in.Interfaces = append(in.Interfaces, services, cache)
		got, err := Compute(in)
		if err != nil {
			t.Fatalf("%s: %v", uplink, err)
		}
		if len(got.Problems) > 0 || got.PodMTU != plain.PodMTU {
			t.Errorf("%s: MTU %d instead of %d, problems %v", uplink, got.PodMTU, plain.PodMTU, got.Problems)
		}
		if d := cmp.Diff(routeTexts(plain, "eth0", uplink), routeTexts(got, uplink, uplink)); d != "" {
			t.Errorf("%s: routes (-without services +with):\n%s", uplink, d)
		}
		for _, set := range []string{"host-ports-not-on4", "host-ports-not-on6"} {
			for _, own := range in.Self.Addresses {
				if _, hidden := got.State.Table.Sets[set].Elements[whole(own)]; hidden {
					t.Errorf("%s: %s has no host ports any more", uplink, own)
				}
			}
		}
		address, err := ChooseAddress(in.Self.Addresses, in.Interfaces, nil)
		if err != nil || !strings.Contains(address.Reason, " on "+uplink) || strings.Contains(address.Reason, kernel.ServiceLink) {
			t.Errorf("%s: %+v, %v", uplink, address, err)
		}
	}
}

// routeTexts are the routes; those by uplink are shown to be by name.
func routeTexts(r Result, uplink, name string) []string {
	var texts []string
	for key, route := range r.State.Routes {
		if route.Link == uplink {
			route.Link = name
		}
		texts = append(texts, key.Dst.String()+" "+route.Link+" "+route.Gateway.String())
	}
	slices.Sort(texts)
	return texts
}

// A node all of whose addresses are a service's cannot be reached.
func TestNodeAddressThatOnlyAServiceHasIsRefused(t *testing.T) {
	in := fixture(VXLAN, only4, only4)
	in.Interfaces[1].Addresses = prefixes("192.168.1.99/24")
	in.Interfaces = append(in.Interfaces, kernel.Interface{Name: kernel.ServiceLink, Kind: "dummy", Addresses: []netip.Prefix{whole(in.Self.Addresses[0])}})
	if _, err := Compute(in); err == nil || !strings.Contains(err.Error(), "on no interface") {
		t.Errorf("error %v", err)
	}
	if _, err := ChooseAddress(in.Self.Addresses, in.Interfaces, nil); err == nil || !strings.Contains(err.Error(), kernel.ServiceLink) {
		t.Errorf("error %v", err)
	}
}
