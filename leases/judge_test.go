package leases

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/ropeway-net/ropeway/endpoint"
	"github.com/ropeway-net/ropeway/hostports"
	"github.com/ropeway-net/ropeway/ipam"
	"github.com/ropeway-net/ropeway/kernel"
)

const thisBoot = "11111111-1111-1111-1111-111111111111"

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

// world is a node that shows no sign of life, to which tests add some.
func world(records ...endpoint.Record) *survey {
	return &survey{
		boot: thisBoot, now: time.Now(), records: records,
		occupancy: kernel.Occupancy{
			Holders: map[netip.Addr][]string{}, Node: map[netip.Addr]bool{},
			Routes: map[netip.Addr]string{}, PodLinks: map[string][]netip.Addr{},
		},
		alive: func(netns string) bool { return strings.HasPrefix(netns, "/alive/") },
		claim: func(string, string) (time.Time, bool) { return time.Time{}, false },
	}
}

func recordOf(id, netns string, addrs ...string) endpoint.Record {
	r := endpoint.Record{
		BootID: thisBoot, ContainerID: id, IfName: "eth0", Network: "net", Netns: netns,
		HostLink: endpoint.HostLink(id, "eth0"), Pod: endpoint.Pod{Namespace: "default", Name: id},
		IPAM: endpoint.IPAM{Type: "ropeway-ipam", DataDir: "/networks"}, Created: time.Now().Add(-time.Hour),
	}
	for _, a := range addrs {
		r.Addresses = append(r.Addresses, addr(a))
	}
	return r
}

func entryOf(a, id, ifName string) ipam.Entry {
	e := ipam.Entry{Modified: time.Now().Add(-time.Hour)}
	e.Address, e.ContainerID, e.IfName = addr(a), id, ifName
	return e
}

// with judges a network that holds entries.
func (s *survey) with(t *testing.T, entries ...ipam.Entry) Report {
	t.Helper()
	s.index()
	n := surveyed{name: "net", dir: "/networks/net", inventory: ipam.Inventory{Boot: thisBoot, Entries: entries}}
	s.networks = []surveyed{n}
	network := Network{Name: n.name, Dir: n.dir, Ours: true}
	for _, e := range entries {
		network.Leases = append(network.Leases, s.lease(n, e))
	}
	problems := s.problemsOf(network, n, nil)
	problems = append(problems, duplicates([]Network{network})...)
	return Report{Networks: []Network{network}, Problems: append(problems, s.problemsOfRecords()...)}
}

func TestOneSignOfLifeKeepsAnAddress(t *testing.T) {
	damaged := ipam.Entry{Damage: "empty"}
	damaged.Address = addr("10.1.0.2")
	old := entryOf("10.1.0.2", "a", "eth0")
	old.Stale = true
	young := entryOf("10.1.0.2", "a", "eth0")
	young.Modified = time.Now().Add(-time.Minute)
	plain := entryOf("10.1.0.2", "a", "eth0")
	legacy := entryOf("10.1.0.2", "a", "")
	earlier := recordOf("a", "/alive/a", "10.1.0.2")
	earlier.BootID = "another"

	none := func(*survey) {}
	for name, test := range map[string]struct {
		entry   ipam.Entry
		records []endpoint.Record
		life    func(*survey)
		use     Use
		reason  string
		kinds   []Kind
	}{
		"its link": {plain, []endpoint.Record{recordOf("a", "", "10.1.0.2")}, func(s *survey) {
			s.occupancy.PodLinks[endpoint.HostLink("a", "eth0")] = []netip.Addr{addr("10.1.0.2")}
		}, InUse, "link rwp", nil},
		"its link, of a file without interface": {legacy, []endpoint.Record{recordOf("a", "", "10.1.0.2")}, func(s *survey) {
			s.occupancy.PodLinks[endpoint.HostLink("a", "eth0")] = []netip.Addr{addr("10.1.0.2")}
		}, InUse, "link rwp", nil},
		"its link, with another address": {plain, []endpoint.Record{recordOf("a", "", "10.1.0.2")}, func(s *survey) {
			s.occupancy.PodLinks[endpoint.HostLink("a", "eth0")] = []netip.Addr{addr("10.1.0.9")}
		}, InUse, "link rwp", []Kind{LinkDiffers}},
		"a namespace": {plain, nil, func(s *survey) {
			s.occupancy.Holders[addr("10.1.0.2")] = []string{"/proc/7/ns/net"}
		}, InUse, "/proc/7/ns/net", nil},
		"the node":                   {plain, nil, func(s *survey) { s.occupancy.Node[addr("10.1.0.2")] = true }, InUse, "node itself", nil},
		"a route":                    {plain, nil, func(s *survey) { s.occupancy.Routes[addr("10.1.0.2")] = "veth1" }, InUse, "veth1", nil},
		"an ADD under way":           {plain, nil, func(s *survey) { s.claim = claimed(time.Minute) }, Attaching, "attached for 1m", nil},
		"an ADD killed long ago":     {plain, nil, func(s *survey) { s.claim = claimed(time.Hour) }, Unused, "no record", []Kind{Leaked}},
		"a young file":               {young, nil, none, Unsure, "younger than", nil},
		"the runtime's word":         {plain, nil, remembered("/alive/a"), Unsure, "counts on it", nil},
		"the runtime's word, dead":   {plain, nil, remembered("/gone"), Unused, "no record", []Kind{Leaked}},
		"nothing":                    {plain, nil, none, Unused, "no record", []Kind{Leaked}},
		"nothing, without interface": {legacy, nil, none, Unused, "no record", []Kind{Leaked}},
		"namespaces not seen":        {plain, nil, func(s *survey) { s.occupancy.Blind = "in a container" }, Unsure, "in a container", nil},
		"link gone, namespace alive": {plain, []endpoint.Record{recordOf("a", "/alive/a", "10.1.0.2")}, none, Unsure, "lives", []Kind{LinkGone}},
		"link and namespace gone":    {plain, []endpoint.Record{recordOf("a", "/gone", "10.1.0.2")}, none, Unused, "no DEL", []Kind{Leaked}},
		"the pod's other address": {plain, []endpoint.Record{recordOf("a", "/gone", "10.1.0.2", "fd00::2")}, func(s *survey) {
			s.occupancy.Routes[addr("fd00::2")] = "veth1"
		}, Unsure, "fd00::2", []Kind{Unreserved}},
		"record of an earlier boot":     {old, []endpoint.Record{earlier}, none, Unused, "earlier boot", []Kind{EarlierBoot}},
		"earlier boot":                  {old, nil, none, Unused, "earlier boot", []Kind{EarlierBoot}},
		"earlier boot, held":            {old, nil, func(s *survey) { s.occupancy.Routes[addr("10.1.0.2")] = "veth1" }, InUse, "veth1", []Kind{EarlierBoot}},
		"damaged":                       {damaged, nil, none, Unused, "damaged (empty)", []Kind{Damaged}},
		"damaged, and the record known": {damaged, []endpoint.Record{recordOf("a", "", "10.1.0.2")}, linked, InUse, "link rwp", []Kind{Damaged, Unreserved}},
		"another's record":              {entryOf("10.1.0.2", "b", "eth0"), []endpoint.Record{recordOf("a", "", "10.1.0.2")}, linked, Unused, "no record", []Kind{Leaked, Unreserved}},
	} {
		t.Run(name, func(t *testing.T) {
			s := world(test.records...)
			test.life(s)
			r := s.with(t, test.entry)
			got := r.Networks[0].Leases[0]
			if got.Use != test.use || !strings.Contains(got.Reason, test.reason) {
				t.Errorf("in use: %s (%s), want %s (%s)", got.Use, got.Reason, test.use, test.reason)
			}
			wantKinds(t, r.Problems, test.kinds...)
		})
	}
}

func claimed(ago time.Duration) func(string, string) (time.Time, bool) {
	return func(string, string) (time.Time, bool) { return time.Now().Add(-ago), true }
}

func remembered(netns string) func(*survey) {
	return func(s *survey) {
		s.results = append(s.results, result{ContainerID: "a", IfName: "eth0", Network: "net", Netns: netns})
	}
}

func linked(s *survey) {
	s.occupancy.PodLinks[endpoint.HostLink("a", "eth0")] = []netip.Addr{addr("10.1.0.2")}
}

func wantKinds(t *testing.T, problems []Problem, want ...Kind) {
	t.Helper()
	missing := append([]Kind(nil), want...)
	for _, p := range problems {
		if p.Text == "" || p.Remedy == "" {
			t.Errorf("a problem without words: %+v", p)
		}
		found := false
		for i, k := range missing {
			if k == p.Kind {
				missing = append(missing[:i], missing[i+1:]...)
				found = true
				break
			}
		}
		if !found {
			t.Errorf("problem nobody expects: %+v", p)
		}
	}
	if len(missing) > 0 {
		t.Errorf("no problem of kind %v", missing)
	}
}

func TestPodPortsKeepTheAddressOfADeadPod(t *testing.T) {
	r := recordOf("a", "/gone", "10.1.0.2")
	r.HostPorts = make([]hostports.Port, 1)
	got := world(r).with(t, entryOf("10.1.0.2", "a", "eth0")).Networks[0].Leases[0]
	if got.Use != Unsure || !strings.Contains(got.Reason, "ports of the node") {
		t.Errorf("in use: %s (%s)", got.Use, got.Reason)
	}
}

func TestProblemsOfRecordsAndLinksAreFound(t *testing.T) {
	a, b := recordOf("a", "/alive/a", "10.1.0.2"), recordOf("b", "/alive/b", "10.1.0.2", "10.1.0.3")
	s := world(a, b)
	s.occupancy.PodLinks[a.HostLink] = a.Addresses
	s.occupancy.PodLinks[b.HostLink] = b.Addresses
	s.occupancy.PodLinks["rwp000000000000"] = nil
	r := s.with(t, entryOf("10.1.0.2", "a", "eth0"))
	wantKinds(t, r.Problems, Duplicate, Unreserved, Unreserved, LinkUnknown)
}

func TestAttachmentThatCameAfterTheReservationsWereReadIsNoProblem(t *testing.T) {
	a := recordOf("a", "/alive/a", "10.1.0.2")
	s := world(a)
	s.records[0].Created = s.now.Add(time.Millisecond)
	s.occupancy.PodLinks[a.HostLink] = a.Addresses
	wantKinds(t, s.with(t).Problems)
}

func TestTwoNetworksWithOneAddressAreADuplicate(t *testing.T) {
	one := Lease{Network: "one", Address: addr("10.1.0.2"), ContainerID: "a", Use: InUse}
	two := Lease{Network: "two", Address: addr("10.1.0.2"), ContainerID: "b", Use: InUse}
	dead := Lease{Network: "three", Address: addr("10.1.0.2"), ContainerID: "c", Use: Unused}
	networks := []Network{{Name: "one", Leases: []Lease{one}}, {Name: "two", Leases: []Lease{two}}, {Name: "three", Leases: []Lease{dead}}}
	wantKinds(t, duplicates(networks), Duplicate)
}
