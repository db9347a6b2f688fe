package ipam

import (
	"net/netip"
	"strings"
	"testing"
)

// The seeds of all fuzz tests, and inputs that reached something new, are in
// testdata/fuzz; `go test` runs them.

func FuzzRequestedAddresses(f *testing.F) {
	f.Fuzz(func(t *testing.T, args string) {
		addrs, err := requestedAddrs(wishes{}, args)
		if err != nil {
			if CNIError(err).Code != 4 {
				t.Errorf("%q gives %v", args, err)
			}
			return
		}
		seen := map[netip.Addr]bool{}
		for _, a := range addrs {
			if !a.IsValid() || a.Zone() != "" || a.Is4In6() || seen[a] {
				t.Errorf("%q yields %v", args, addrs)
			}
			seen[a] = true
		}
		if len(addrs) > 0 && !strings.Contains(args, "IP=") {
			t.Errorf("%q asks for %v", args, addrs)
		}
	})
}

// FuzzRange walks what it can of a range: each address is of it and comes once.
func FuzzRange(f *testing.F) {
	f.Fuzz(func(t *testing.T, subnet, start, end, gateway, last string) {
		r, err := rangeSection{subnet, start, end, gateway}.parse("ipam")
		if err != nil {
			if code := CNIError(err).Code; code != 7 {
				t.Errorf("code %d for %v", code, err)
			}
			return
		}
		after, _ := netip.ParseAddr(last)
		seen := map[netip.Addr]bool{}
		for a, of := range (RangeSet{r}).after(after) {
			if !r.Contains(a) || !r.Subnet.Contains(a) || of != r || seen[a] {
				t.Fatalf("%v yields %v (again: %v)", r, a, seen[a])
			}
			seen[a] = true
			if len(seen) == 300 {
				return
			}
		}
		if uint64(len(seen)) != r.size() {
			t.Errorf("%v yields %d addresses of %d", r, len(seen), r.size())
		}
	})
}

func FuzzParseAddressName(f *testing.F) {
	f.Fuzz(func(t *testing.T, name string) {
		if a, ok := parseAddressName(name); ok && (a.String() != name || strings.ContainsAny(name, "/%")) {
			t.Errorf("%q is read as %v", name, a)
		}
	})
}
