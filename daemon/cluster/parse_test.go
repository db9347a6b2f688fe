package cluster

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const twoNodes = `
nodes:
- name: n2
  addresses: [192.168.1.12, "fd00:1::12"]
  podCIDRs: [10.244.2.0/24, "fd10:244:0:2::/64"]
- name: n1
  addresses: ["fd00:1::11"]
  podCIDRs: [10.244.1.0/24]
`

// netipEqual compares net/netip values, whose fields are not exported.
func netipEqual() cmp.Option {
	return cmp.Options{
		cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
		cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
	}
}

func TestParseSortsByName(t *testing.T) {
	got, err := Parse([]byte(twoNodes))
	if err != nil {
		t.Fatal(err)
	}
	want := []Node{
		{Name: "n1", Addresses: []netip.Addr{netip.MustParseAddr("fd00:1::11")}, PodCIDRs: []netip.Prefix{netip.MustParsePrefix("10.244.1.0/24")}},
		{Name: "n2", Addresses: []netip.Addr{netip.MustParseAddr("192.168.1.12"), netip.MustParseAddr("fd00:1::12")},
			PodCIDRs: []netip.Prefix{netip.MustParsePrefix("10.244.2.0/24"), netip.MustParsePrefix("fd10:244:0:2::/64")}},
	}
	if diff := cmp.Diff(want, got, netipEqual()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// entry is a valid node of the list with some of its lines replaced.
func entry(name, addresses, podCIDRs string) string {
	return "- {name: " + name + ", addresses: [" + addresses + "], podCIDRs: [" + podCIDRs + "]}\n"
}

func TestParseErrorsNameNodeAndCause(t *testing.T) {
	ok := entry("n1", "192.168.1.11", "10.244.1.0/24")
	tests := []struct {
		name string
		in   string
		want []string
	}{
		{"empty", "", []string{"no nodes"}},
		{"no nodes", "nodes: []", []string{"no nodes"}},
		{"not YAML", "\tnodes: {", []string{"not a list of nodes"}},
		{"unknown key", "nodes:\n- {name: n1, adresses: [10.0.0.1]}", []string{"adresses"}},
		{"key twice", "nodes: []\nnodes: []", []string{"nodes"}},
		{"no name", "nodes:\n" + ok + entry(`""`, "192.168.1.12", "10.244.2.0/24"), []string{"number 2", "name"}},
		{"name with slash", "nodes:\n" + entry("../n2", "192.168.1.12", "10.244.2.0/24"), []string{`"../n2"`, "lower case"}},
		{"name in capitals", "nodes:\n" + entry("N2", "192.168.1.12", "10.244.2.0/24"), []string{`"N2"`}},
		{"name listed twice", "nodes:\n" + ok + ok, []string{`"n1"`, "twice"}},
		{"no addresses", "nodes:\n" + entry("n2", "", "10.244.2.0/24"), []string{`"n2"`, "addresses is missing"}},
		{"no pod CIDRs", "nodes:\n" + entry("n2", "192.168.1.12", ""), []string{`"n2"`, "podCIDRs is missing"}},
		{"address with prefix length", "nodes:\n" + entry("n2", "192.168.1.12/24", "10.244.2.0/24"), []string{`"n2"`, "192.168.1.12/24", "without prefix length"}},
		{"address of another node", "nodes:\n" + ok + entry("n2", "192.168.1.11", "10.244.2.0/24"), []string{`"n1"`, `"n2"`, "192.168.1.11"}},
		{"two addresses of one family", "nodes:\n" + entry("n2", "192.168.1.12, 192.168.1.13", "10.244.2.0/24"), []string{"192.168.1.12", "192.168.1.13", "same family"}},
		{"mapped address", "nodes:\n" + entry("n2", `"::ffff:192.168.1.12"`, "10.244.2.0/24"), []string{"write 192.168.1.12"}},
		{"loopback", "nodes:\n" + entry("n2", "127.0.0.1", "10.244.2.0/24"), []string{`"n2"`, "loopback"}},
		{"multicast", "nodes:\n" + entry("n2", "224.0.0.1", "10.244.2.0/24"), []string{`"n2"`, "multicast"}},
		{"unspecified", "nodes:\n" + entry("n2", `"::"`, "10.244.2.0/24"), []string{`"n2"`, "no host"}},
		{"link-local", "nodes:\n" + entry("n2", `"fe80::1%eth0"`, "10.244.2.0/24"), []string{`"n2"`, "link-local"}},
		{"CIDR without length", "nodes:\n" + entry("n2", "192.168.1.12", "10.244.2.0"), []string{`"n2"`, `"10.244.2.0"`, "address/length"}},
		{"CIDR not masked", "nodes:\n" + entry("n2", "192.168.1.12", "10.244.2.7/24"), []string{`"n2"`, "write 10.244.2.0/24"}},
		{"CIDR too small", "nodes:\n" + entry("n2", "192.168.1.12", "10.244.2.0/31"), []string{`"n2"`, "no room"}},
		{"two CIDRs of one family", "nodes:\n" + entry("n2", "192.168.1.12", "10.244.2.0/24, 10.244.3.0/24"), []string{`"n2"`, "same family"}},
		{"CIDR of everything", "nodes:\n" + entry("n2", "192.168.1.12", "0.0.0.0/0"), []string{`"n2"`, "reserved"}},
		{"CIDR link-local", "nodes:\n" + entry("n2", "192.168.1.12", `"fe80::/64"`), []string{`"n2"`, "reserved"}},
		{"CIDR mapped", "nodes:\n" + entry("n2", "192.168.1.12", `"::ffff:10.0.0.0/120"`), []string{`"n2"`}},
		{"CIDR overlaps another node's", "nodes:\n" + ok + entry("n2", "192.168.1.12", "10.244.0.0/16"), []string{`"n1"`, `"n2"`, "10.244.0.0/16", "10.244.1.0/24"}},
		{"CIDR of another node", "nodes:\n" + ok + entry("n2", "192.168.1.12", "10.244.1.0/24"), []string{`"n1"`, `"n2"`}},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			_, err := Parse([]byte(tc.in))
			if err == nil {
				t.Fatal("no error")
			}
			for _, part := range tc.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("error %q does not say %q", err, part)
				}
			}
		})
	}
}

func TestManyErrorsStayReadable(t *testing.T) {
	in := "nodes:\n" + strings.Repeat(entry("N", "1.2.3", "x"), 1000)
	_, err := Parse([]byte(in))
	if err == nil || len(err.Error()) > 2000 || !strings.Contains(err.Error(), "more") {
		t.Errorf("error of %d bytes: %.200v", len(err.Error()), err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(twoNodes))
	f.Add([]byte("nodes:\n" + entry("n1", "192.168.1.11", "10.244.1.0/24")))
	f.Add([]byte(`{"nodes":[{"name":"n1","addresses":["::ffff:1.2.3.4"],"podCIDRs":["::/0"]}]}`))
	f.Add([]byte("nodes: &a [*a]"))
	f.Add([]byte("nodes:\n- ~\n"))
	f.Add([]byte{0xff, 0xfe, 0})
	f.Fuzz(func(t *testing.T, in []byte) {
		nodes, err := Parse(in)
		if err != nil {
			return
		}
		if len(nodes) == 0 {
			t.Fatal("no nodes and no error")
		}
		if err := Validate(nodes); err != nil {
			t.Fatalf("accepted nodes that are not valid: %v", err)
		}
	})
}

func FuzzParseMemory(f *testing.F) {
	f.Add([]byte(`{"nodes":[{"name":"n1","addresses":["192.168.1.11"],"podCIDRs":["10.244.1.0/24"]}]}`))
	f.Add([]byte(`{"nodes":[{"name":"n1","addresses":["::ffff:1.2.3.4"],"podCIDRs":["::/0"]}]}`))
	f.Add([]byte(`{"nodes":[{"name":"n1","addresses":["fe80::1%eth0"],"podCIDRs":[""]}]}`))
	f.Add([]byte(`{"nodes":null}`))
	f.Add([]byte(`[]`))
	f.Fuzz(func(t *testing.T, in []byte) {
		nodes, err := parseMemory(in)
		if err != nil {
			return
		}
		if len(nodes) == 0 {
			t.Error("no nodes and no error")
		}
		if err := Validate(nodes); err != nil {
			t.Errorf("nodes are not valid: %v", err)
		}
	})
}
