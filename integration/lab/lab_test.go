package lab

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"

	"github.com/ropeway-net/ropeway/daemon/topology"
)

// placeholders stand for the programs where a test needs only the underlay.
func placeholders(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range binaries() {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\nexec sleep 60\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// underlay makes a lab without working daemons.
func underlay(t *testing.T, options Options) *Lab {
	t.Helper()
	options.BinDir = placeholders(t)
	before, err := SnapshotMachine()
	if err != nil {
		t.Fatal(err)
	}
	l, err := New(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		expectNothingLeft(t, before, l.Name())
	})
	return l
}

// expectNothingLeft looks at what bears the lab's name, as other tests of the
// machine may make and remove things meanwhile.
func expectNothingLeft(t *testing.T, before Machine, name string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	left, err := Leftovers(ctx, before)
	if err != nil {
		t.Error(err)
	}
	for _, thing := range left {
		if strings.Contains(thing, name) || strings.HasPrefix(thing, "process ") {
			t.Errorf("left behind: %s", thing)
		}
	}
}

func anyPort(a netip.Addr) netip.AddrPort { return netip.AddrPortFrom(a, 0) }

func TestUnderlayCarriesBothFamiliesBetweenSubnets(t *testing.T) {
	l := underlay(t, Options{})
	for _, family := range []Families{IPv4, IPv6} {
		for to, ns := range map[string]*Namespace{"n2": l.Node("n2").Namespace, "n3": l.Node("n3").Namespace, "world": l.World} {
			address := WorldAddr(family)
			if n := l.Node(to); n != nil {
				address = n.Address(family)
			}
			server, err := ns.ServeHTTP(t.Context(), anyPort(address))
			if err != nil {
				t.Fatal(err)
			}
			answer, err := l.Node("n1").GetHTTP(t.Context(), server.Addr)
			if err != nil {
				t.Errorf("n1 to %s over %s: %v", to, family, err)
			} else if want := l.Node("n1").Address(family); answer.Source != want {
				t.Errorf("n1 to %s: server saw %s, want %s", to, answer.Source, want)
			}
			if err := server.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}

func TestUnderlayHasTheAddressesAskedFor(t *testing.T) {
	tests := []struct {
		underlay Families
		want     []string
	}{
		{IPv4, []string{"172.31.1.11"}},
		{IPv6, []string{"fd31:0:0:1::11"}},
		{Dual, []string{"172.31.1.11", "fd31:0:0:1::11"}},
		{DualIPv6, []string{"fd31:0:0:1::11", "172.31.1.11"}},
	}
	for _, test := range tests {
		t.Run(string(test.underlay), func(t *testing.T) {
			l := underlay(t, Options{Underlay: test.underlay, Subnet1: []string{"n1"}})
			var got []string
			for _, a := range l.Node("n1").Facts().Addresses {
				got = append(got, a.String())
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
			var onLink []string
			err := l.Node("n1").Netlink(func(h *netlink.Handle) error {
				link, err := h.LinkByName(NodeLink)
				if err != nil {
					return err
				}
				addrs, err := h.AddrList(link, netlink.FAMILY_ALL)
				for _, a := range addrs {
					if a.IP.IsGlobalUnicast() {
						onLink = append(onLink, a.IP.String())
					}
				}
				return err
			})
			if err != nil || len(onLink) != len(test.want) {
				t.Errorf("%s holds %v, want %v (%v)", NodeLink, onLink, test.want, err)
			}
		})
	}
}

func TestRouterAndWorldKnowNoPodAddress(t *testing.T) {
	l := underlay(t, Options{Pods: Dual})
	for _, ns := range []*Namespace{l.Router, l.World} {
		err := ns.Netlink(func(h *netlink.Handle) error {
			routes, err := h.RouteList(nil, netlink.FAMILY_ALL)
			for _, r := range routes {
				if r.Dst != nil && (strings.HasPrefix(r.Dst.String(), "10.244.") || strings.HasPrefix(r.Dst.String(), "fd00:")) {
					t.Errorf("%s has route %s", ns.name, r)
				}
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
}

func TestDirectModePutsAllNodesOnOneSubnetUnlessPlaced(t *testing.T) {
	l := underlay(t, Options{Mode: topology.Direct})
	if got := l.Node("n3").Subnet; got != 1 {
		t.Errorf("n3 is on subnet %d", got)
	}
	l = underlay(t, Options{Mode: topology.Direct, Subnet1: []string{"n1"}, Subnet2: []string{"n3"}})
	if got := l.Node("n3").Subnet; got != 2 {
		t.Errorf("placed n3 is on subnet %d", got)
	}
}

func TestNodesComeGoAndAreRenumbered(t *testing.T) {
	l := underlay(t, Options{})
	if _, err := l.AddNode(t.Context(), "n4", 2); err != nil {
		t.Fatal(err)
	}
	if err := l.RemoveNode(t.Context(), "n2"); err != nil {
		t.Fatal(err)
	}
	if err := l.Node("n3").Renumber(t.Context(), 222); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(l.Node("n1").NodesFile())
	if err != nil {
		t.Fatal(err)
	}
	for want, present := range map[string]bool{"172.31.2.222": true, "172.31.2.14": true, "172.31.2.13\n": false, "name: n2": false} {
		if strings.Contains(string(text), want) != present {
			t.Errorf("nodes file of n1 has %q: %v, want %v:\n%s", want, !present, present, text)
		}
	}
	server, err := l.Node("n3").ServeHTTP(t.Context(), anyPort(l.Node("n3").Address(IPv4)))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = server.Close() }()
	if _, err := l.Node("n4").GetHTTP(t.Context(), server.Addr); err != nil {
		t.Error(err)
	}
}

func TestTwoLabsDoNotMeet(t *testing.T) {
	a, b := underlay(t, Options{}), underlay(t, Options{})
	if a.Name() == b.Name() || a.Node("n1").Path() == b.Node("n1").Path() {
		t.Fatalf("labs %s and %s share names", a.Name(), b.Name())
	}
	server, err := a.Node("n2").ServeHTTP(t.Context(), anyPort(a.Node("n2").Address(IPv4)))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = server.Close() }()
	if _, err := b.Node("n1").GetHTTP(t.Context(), server.Addr); err == nil {
		t.Error("a node of one lab reached a server of the other")
	}
}

func TestOptionsThatCannotWorkAreRefused(t *testing.T) {
	bin := placeholders(t)
	tests := []struct {
		name    string
		options Options
		want    string
	}{
		{"mode", Options{Mode: "wireguard"}, "wireguard"},
		{"underlay", Options{Underlay: "ipx"}, "ipx"},
		{"twice", Options{Subnet1: []string{"a"}, Subnet2: []string{"a"}}, "named a"},
		{"slash", Options{Subnet1: []string{"a/b"}}, "a/b"},
		{"reserved", Options{Subnet1: []string{"world"}}, "world"},
		{"mtu", Options{MTU: 100}, "100"},
		{"lab name", Options{Name: "no dashes-here"}, "no dashes-here"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			test.options.BinDir = bin
			l, err := New(t.Context(), test.options)
			if err == nil {
				t.Fatal("accepted", l.Close())
			}
			if !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %q does not name %q", err, test.want)
			}
		})
	}
}

// countdown is a context that ends when it has been asked a number of times.
type countdown struct {
	context.Context
	left int
}

func (c *countdown) Err() error {
	if c.left--; c.left < 0 {
		return context.Canceled
	}
	return nil
}

func TestNewThatFailsLeavesNothing(t *testing.T) {
	bin := placeholders(t)
	for step := range 3 {
		before, err := SnapshotMachine()
		if err != nil {
			t.Fatal(err)
		}
		_, err = New(&countdown{t.Context(), step}, Options{BinDir: bin, Name: uniqueName()})
		if !errors.Is(err, context.Canceled) {
			t.Fatalf("step %d: %v", step, err)
		}
		expectNothingLeft(t, before, "rw-")
	}
}

func TestLaterProgramOpensAndClosesPersistentLab(t *testing.T) {
	before, err := SnapshotMachine()
	if err != nil {
		t.Fatal(err)
	}
	first, err := New(t.Context(), Options{BinDir: placeholders(t), Persistent: true})
	if err != nil {
		t.Fatal(err)
	}
	if err = first.Node("n1").StartDaemon(t.Context()); err != nil {
		t.Error(err)
	}
	second, err := Open(t.Context(), first.Name())
	if err != nil {
		t.Fatal(err)
	}
	if !second.Node("n1").Running() || second.Node("n2").Running() {
		t.Error("the opened lab does not know which daemons run")
	}
	if err := second.Close(); err != nil {
		t.Error(err)
	}
	if first.Node("n1").Running() {
		t.Error("the daemon still runs")
	}
	expectNothingLeft(t, before, first.Name())
}

func TestDoComesBackWithErrorsPanicsAndGoexit(t *testing.T) {
	l := underlay(t, Options{Subnet1: []string{"n1"}})
	n := l.Node("n1")
	home, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	cause := errors.New("cause")
	if err = n.Do(func() error { return cause }); !errors.Is(err, cause) {
		t.Errorf("got %v", err)
	}
	func() {
		defer func() {
			if p := recover(); p == nil || !strings.Contains(p.(string), "inside") {
				t.Errorf("recovered %v", p)
			}
		}()
		_ = n.Do(func() error { panic("inside") })
	}()
	exited := make(chan bool)
	go func() {
		defer close(exited)
		_ = n.Do(func() error { runtime.Goexit(); return nil })
		t.Error("the caller went on")
	}()
	<-exited
	threads, err := filepath.Glob("/proc/self/task/*/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	for _, thread := range threads {
		if at, err := os.Readlink(thread); err == nil && at != home {
			t.Errorf("%s is in %s, not at home in %s", thread, at, home)
		}
	}
}
