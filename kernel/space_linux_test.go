package kernel

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// space is a network namespace with [sampleInterfaces] and a pod link whose
// other end is in the same namespace.
type space struct {
	nftSpace
	kernel Kernel
}

func newSpace(t *testing.T) space {
	t.Helper()
	s := space{nftSpace: newNftSpace(t)}
	k, err := OpenAt(fmt.Sprintf("/proc/self/fd/%d", int(s.ns)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := k.Close(); err != nil {
			t.Error(err)
		}
	})
	s.kernel = k
	s.sh(`set -e
ip link set lo up
ip link add eth0 mtu 1500 type veth peer name peer0
ip link set eth0 addrgenmode none; ip link set peer0 addrgenmode none
ip link set eth0 up; ip link set peer0 up
ip address add 192.0.2.1/24 dev eth0
ip address add 2001:db8::1/64 dev eth0 nodad
ip link add ` + samplePodLink + ` type veth peer name pod0
ip link set ` + samplePodLink + ` addrgenmode none; ip link set pod0 addrgenmode none
ip link set ` + samplePodLink + ` up; ip link set pod0 up`)
	return s
}

func (s space) sh(script string) string {
	s.t.Helper()
	return s.run(script, "sh")
}

func (s space) state() State {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	snapshot, err := s.kernel.Snapshot(ctx)
	if err != nil {
		s.t.Fatal(err)
	}
	return snapshot.State
}

func (s space) try(p Plan) error {
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	return s.kernel.Apply(ctx, p)
}

// reach makes the namespace hold desired, and checks that it does.
func (s space) reach(desired State) {
	s.t.Helper()
	plan := Diff(s.state(), desired)
	if err := s.try(plan); err != nil {
		s.t.Fatalf("%v\nplan:\n%s", err, plan)
	}
	s.holds(desired)
}

func (s space) holds(desired State) {
	s.t.Helper()
	have := s.state()
	if d := cmp.Diff(desired.String(), only(have, desired).String()); d != "" {
		s.t.Fatalf("state (-want +got):\n%s", d)
	}
	if p := Diff(have, desired); !p.Empty() {
		s.t.Fatalf("a second plan is not empty:\n%s", p)
	}
}

// needs skips the test where the kernel lacks a kind of tunnel device.
func (s space) needs(l Link) {
	s.t.Helper()
	err := s.try(Plan{Ops: []Op{LinkAdd{l}}})
	if errors.Is(err, unix.EOPNOTSUPP) {
		s.t.Skipf("kernel has no %s", l.Kind)
	}
	if err != nil {
		s.t.Fatal(err)
	}
	if err := s.try(Plan{Ops: []Op{LinkDel{l.Name}}}); err != nil {
		s.t.Fatal(err)
	}
}

// tunnelled returns the sample state with another tunnel device in the place
// of VXLAN, for the families that it carries.
func tunnelled(l Link, gateway4, gateway6 string) State {
	s := sampleState()
	delete(s.Sysctls, "net/ipv4/conf/ropeway-vxlan/rp_filter")
	s.Sysctls["net/ipv4/conf/"+l.Name+"/rp_filter"] = "2"
	s.Links = map[string]Link{l.Name: l}
	s.FDB = nil
	s.Addresses = map[Address]struct{}{on(l.Name, "10.244.1.1/32"): {}, on(l.Name, "fd00:1::1/128"): {}}
	delete(s.Neighbours, near(VXLANLink, "10.244.2.1"))
	delete(s.Neighbours, near(VXLANLink, "fe80::2"))
	for dst, gateway := range map[string]string{"10.244.2.0/24": gateway4, "fd00:2::/64": gateway6} {
		r := s.Routes[to(dst)]
		delete(s.Routes, to(dst))
		if gateway != "" {
			r.Link, r.Gateway = l.Name, ip(gateway)
			s.Routes[to(dst)] = r
		}
	}
	return s
}

// encapsulated turns gateways into outer destinations.
func encapsulated(s State) State {
	for k, r := range s.Routes {
		if r.Link == IP6TnlLink {
			r.Encap = Encap{Src: ip("2001:db8::1"), Dst: r.Gateway}
			r.Gateway, r.OnLink = netip.Addr{}, false
			s.Routes[k] = r
		}
	}
	return s
}

// stateCase is a state that a node can hold, with the devices it needs.
type stateCase struct {
	name  string
	state State
}

func stateCases() []stateCase {
	overIPv6 := sampleState()
	overIPv6.Links = map[string]Link{VXLANLink: vxlanLink("2001:db8::1")}
	overIPv6.FDB = map[FDBEntry]struct{}{{VXLANLink, sampleMAC(2), ip("2001:db8::2")}: {}}
	withTable := sampleState()
	withTable.Table = sampleTables()["vxlan dual stack"]
	return []stateCase{
		{"vxlan over IPv4", sampleState()},
		{"vxlan over IPv6", overIPv6},
		{"vxlan with table", withTable},
		{"ipip", tunnelled(Link{Name: IPIPLink, Kind: IPIP, Local: ip("192.0.2.1"), MTU: 1480, Up: true}, "192.0.2.2", "")},
		{"sit", tunnelled(Link{Name: SITLink, Kind: SIT, Local: ip("192.0.2.1"), MTU: 1480, Up: true}, "", "::192.0.2.2")},
		{"ip6tnl", encapsulated(tunnelled(Link{Name: IP6TnlLink, Kind: IP6Tnl, MTU: 1460, Up: true}, "2001:db8::2", "2001:db8::2"))},
	}
}

func forEachState(t *testing.T, test func(t *testing.T, s space, desired State)) {
	for _, c := range stateCases() {
		t.Run(c.name, func(t *testing.T) {
			s := newSpace(t)
			for _, l := range c.state.Links {
				s.needs(l)
			}
			test(t, s, c.state)
		})
	}
}
