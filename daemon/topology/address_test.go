package topology

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ropeway-net/ropeway/kernel"
)

func iface(name, kind string, addresses ...string) kernel.Interface {
	i := kernel.Interface{Name: name, Kind: kind, Up: true}
	for _, a := range addresses {
		i.Addresses = append(i.Addresses, netip.MustParsePrefix(a))
	}
	return i
}

// host has a link of every sort that carries addresses and is no way to a node.
func host() []kernel.Interface {
	return []kernel.Interface{
		iface("br0", "bridge", "192.168.7.1/24"),
		iface("br-0123456789ab", "bridge", "172.18.0.1/16"),
		iface("cni0", "bridge", "10.244.1.1/24"),
		iface("docker0", "bridge", "172.17.0.1/16"),
		iface("eth0", "", "192.168.1.11/24", "192.168.1.99/24", "fd00:1::11/64", "fe80::1/64"),
		iface("eth1", "veth", "10.0.0.11/24"),
		iface("kube-ipvs0", "dummy", "10.8.0.1/32", "10.0.0.77/32"),
		iface("lo", "", "127.0.0.1/8", "::1/128"),
		iface("nodelocaldns", "dummy", "10.9.0.1/32"),
		iface("ropeway-vxlan", "vxlan", "10.244.2.1/32"),
		iface("tunl0", "ipip", "10.5.0.1/32"),
		iface("vethabc", "veth", "10.0.1.1/32"),
		iface("vxlan9", "vxlan", "10.6.0.1/24"),
		iface("wg0", "wireguard", "10.7.0.1/24"),
	}
}

func rules(t *testing.T, texts ...string) []AddressRule {
	t.Helper()
	var out []AddressRule
	for _, text := range texts {
		r, err := ParseAddressRule(text)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, r)
	}
	return out
}

func addresses(text string) []netip.Addr {
	var out []netip.Addr
	for _, f := range strings.Fields(text) {
		out = append(out, netip.MustParseAddr(f))
	}
	return out
}

func TestNodeAddressIsChosenByRule(t *testing.T) {
	tests := []struct {
		name   string
		listed string
		rules  []string
		want   string // addresses, or parts of the error behind "!"
		reason string
	}{
		{"as listed", "192.168.1.11 fd00:1::11", nil, "192.168.1.11 fd00:1::11", "192.168.1.11 on eth0 as listed"},
		{"listed on no interface", "192.168.1.12", nil, "192.168.1.12", "on no interface"},
		{"listed on a bridge of the host", "192.168.7.1", nil, "192.168.7.1", "br0"},
		{"listed on wireguard", "10.7.0.1", nil, "10.7.0.1", "wg0"},
		{"listed on docker0", "172.17.0.1", nil, "!docker0, a bridge for containers", ""},
		{"listed on our own", "10.244.2.1", nil, "!Ropeway's own", ""},
		{"listed on a pod link", "10.0.1.1", nil, "!the link of a pod", ""},
		{"listed where services are", "10.8.0.1", nil, "!kube-ipvs0, which holds addresses of services", ""},
		{"interface", "10.0.2.15", []string{"eth0"}, "192.168.1.11 fd00:1::11", "by nodeAddress interface eth0"},
		{"CIDR", "10.0.2.15", []string{"10.0.0.0/16"}, "10.0.0.11", "10.0.0.11 on eth1 by nodeAddress CIDR 10.0.0.0/16"},
		{"CIDR of all", "", []string{"0.0.0.0/0"}, "192.168.1.11", "eth0"},
		{"address", "192.168.1.11", []string{"192.168.1.99"}, "192.168.1.99", "address 192.168.1.99"},
		{"address on a bridge of the host", "", []string{"192.168.7.1"}, "192.168.7.1", "br0"},
		{"a family by each rule, IPv6 first", "", []string{"fd00::/16", "10.0.0.0/24"}, "fd00:1::11 10.0.0.11", "CIDR fd00::/16"},
		{"the first rule that matches", "", []string{"eth7", "10.9.0.0/16", "eth1", "eth0"}, "10.0.0.11 fd00:1::11", "eth1"},
		{"interface that is not there", "192.168.1.11", []string{"eth7"}, "!interface eth7 does not exist", ""},
		{"address that is not there", "192.168.1.11", []string{"192.168.1.5"}, "!address 192.168.1.5: no interface", ""},
		{"CIDR of a container bridge", "", []string{"172.17.0.0/16"}, "!172.17.0.1 is on docker0, a bridge", ""},
		{"CIDR of an engine's bridge", "", []string{"172.18.0.0/16"}, "!br-0123456789ab", ""},
		{"address of a container bridge", "", []string{"10.244.1.1"}, "!cni0", ""},
		{"bridge by name", "", []string{"br0"}, "!a bridge; give the address itself", ""},
		{"vxlan", "", []string{"vxlan9"}, "!a tunnel (vxlan)", ""},
		{"ipip", "", []string{"10.5.0.1"}, "!a tunnel (ipip)", ""},
		{"wireguard", "", []string{"10.7.0.0/24"}, "!a tunnel (wireguard)", ""},
		{"pod link", "", []string{"10.0.1.0/24"}, "!the link of a pod", ""},
		{"our own", "", []string{"10.244.2.0/24"}, "!Ropeway's own", ""},
		{"CIDR of services", "", []string{"10.8.0.0/16"}, "!kube-ipvs0, which holds addresses of services", ""},
		{"address of the node's DNS cache", "", []string{"10.9.0.1"}, "!nodelocaldns, which holds", ""},
		{"loopback", "", []string{"lo"}, "!interface lo", ""},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			got, err := ChooseAddress(addresses(tc.listed), host(), rules(t, tc.rules...))
			if part, refused := strings.CutPrefix(tc.want, "!"); refused {
				if err == nil || !strings.Contains(err.Error(), part) {
					t.Fatalf("got %v, error %v; want one that says %q", got, err, part)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(addresses(tc.want), got.Addresses, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if !strings.Contains(got.Reason, tc.reason) || got.Chosen != (len(tc.rules) > 0) {
				t.Errorf("reason %q, chosen %v", got.Reason, got.Chosen)
			}
		})
	}
}

func TestAddressRuleThatIsNoneIsRefused(t *testing.T) {
	for _, text := range []string{"", "10.0.0.0/33", "a/b", "an-interface-name-too-long", "eth0 eth1", "-x", "..", "x\n"} {
		if r, err := ParseAddressRule(text); err == nil {
			t.Errorf("%q was taken for %s", text, r)
		}
	}
}

func FuzzParseAddressRule(f *testing.F) {
	for _, text := range []string{"eth0", "10.0.0.0/8", "fd00::1", "::ffff:10.0.0.1", "fe80::1%eth0", "::ffff:10.0.0.0/104", "1.2.3.4/"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r, err := ParseAddressRule(text)
		if err != nil {
			return
		}
		if (r.Interface == "") == !r.Prefix.IsValid() {
			t.Fatalf("%q became %+v", text, r)
		}
		choice, err := ChooseAddress(nil, host(), []AddressRule{r})
		if err == nil && len(choice.Addresses) == 0 {
			t.Errorf("%q chose nothing and nothing is said", text)
		}
	})
}
