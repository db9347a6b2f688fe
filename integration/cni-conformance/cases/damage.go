package cases

import (
	"context"
	"net/netip"
	"strings"

	"github.com/ropeway-net/ropeway/integration/cni-conformance/stage"
	"github.com/ropeway-net/ropeway/integration/cni-conformance/subject"
)

func checkDamageCases() []Case {
	return []Case{
		{Name: "check-interface-gone", Level: Should, What: "CHECK fails when the interface is gone", Since: checkSince, Kinds: interfaceOnly(), Run: checkInterfaceGone},
		{Name: "check-interface-down", Level: Should, What: "CHECK fails when the interface is down", Since: checkSince, Kinds: interfaceOnly(), Run: checkInterfaceDown},
		{Name: "check-address-gone", Level: Should, What: "CHECK fails when an address is gone", Since: checkSince, Kinds: interfaceOnly(), Run: checkAddressGone},
		{Name: "check-route-gone", Level: Should, What: "CHECK fails when a route of prevResult is gone", Since: checkSince, Kinds: interfaceOnly(), Run: checkRouteGone},
		{Name: "check-host-interface-down", Level: Should, What: "CHECK fails when the host's end is down: the container cannot be reached", Since: checkSince, Kinds: interfaceOnly(), Run: checkHostInterfaceDown},
		{Name: "check-host-route-gone", Level: Should, What: "CHECK fails when the host has lost its route to the container", Since: checkSince, Kinds: interfaceOnly(), Run: checkHostRouteGone},
		{Name: "check-reservation-gone", Level: Should, What: "CHECK fails when the reservation of the address is gone", Since: checkSince, Kinds: addressing(), Run: checkReservationGone},
		{Name: "check-reservation-of-another", Level: Should, What: "CHECK fails when the address is reserved for another container", Since: checkSince, Kinds: addressing(), Run: checkReservationOfAnother},
		{Name: "check-firewall-gone", Level: Should, What: "CHECK fails when the rules that ADD made are gone", Since: checkSince, Run: checkFirewallGone},
		{Name: "check-netns-gone", Level: Should, What: "CHECK fails when the namespace is gone", Since: checkSince, Kinds: interfaceOnly(), Run: checkNetnsGone},
	}
}

// damaged runs CHECK after a command has done harm.
func damaged(ctx context.Context, s *stage.Stage, because, command string) error {
	a, err := checked(ctx, s)
	if err != nil {
		return err
	}
	if err := s.Sh(ctx, "%s", command); err != nil {
		return err
	}
	return fails(s.Call(ctx, "CHECK", a), because)
}

func checkInterfaceGone(ctx context.Context, s *stage.Stage) error {
	return damaged(ctx, s, "the interface is gone", "ip -n a link delete eth0")
}

func checkInterfaceDown(ctx context.Context, s *stage.Stage) error {
	return damaged(ctx, s, "the interface is down", "ip -n a link set eth0 down")
}

func checkAddressGone(ctx context.Context, s *stage.Stage) error {
	return damaged(ctx, s, "the addresses are gone", "ip -n a address flush dev eth0 scope global")
}

func checkRouteGone(ctx context.Context, s *stage.Stage) error {
	a, err := checked(ctx, s)
	if err != nil {
		return err
	}
	result, err := stage.ResultOf(a)
	if err != nil {
		return err
	}
	if len(result.Routes) == 0 {
		return stage.Inapplicable("its result has no routes")
	}
	dst := result.Routes[0].Dst
	family := "-4"
	if strings.Contains(dst, ":") {
		family = "-6"
	}
	if err := s.Sh(ctx, "ip -n a %s route del %s", family, dst); err != nil {
		return err
	}
	return fails(s.Call(ctx, "CHECK", a), "the route to "+dst+" is gone")
}

// hostEnd is the host's interface that belongs to the attachment alone.
func hostEnd(a *stage.Attachment, before map[string]bool) (string, error) {
	result, err := stage.ResultOf(a)
	if err != nil {
		return "", err
	}
	for _, l := range result.Interfaces {
		if _, _, there := stage.HostLink(l.Name); l.Sandbox == "" && there && !before[l.Name] {
			return l.Name, nil
		}
	}
	return "", stage.Inapplicable("its result has no interface of the host that belongs to the container alone")
}

// checkedSecond attaches a first container, so that what all share is there,
// and then the one that is examined.
func checkedSecond(ctx context.Context, s *stage.Stage) (*stage.Attachment, string, error) {
	if _, err := s.Attached(ctx, "z"); err != nil {
		return nil, "", err
	}
	before, err := stage.HostLinks()
	if err != nil {
		return nil, "", err
	}
	a, err := checked(ctx, s)
	if err != nil {
		return nil, "", err
	}
	name, err := hostEnd(a, before)
	return a, name, err
}

func checkHostInterfaceDown(ctx context.Context, s *stage.Stage) error {
	a, name, err := checkedSecond(ctx, s)
	if err != nil {
		return err
	}
	if err := s.Sh(ctx, "ip link set %s down", name); err != nil {
		return err
	}
	return fails(s.Call(ctx, "CHECK", a), "the host's end "+name+" is down")
}

func checkHostRouteGone(ctx context.Context, s *stage.Stage) error {
	a, name, err := checkedSecond(ctx, s)
	if err != nil {
		return err
	}
	now, err := s.Snapshot(ctx)
	if err != nil {
		return err
	}
	result, err := stage.ResultOf(a)
	if err != nil {
		return err
	}
	addresses, err := result.Addresses()
	if err != nil || len(addresses) == 0 {
		return stage.Inapplicable("its result has no address")
	}
	addr := addresses[0].Addr()
	for _, line := range now {
		if strings.HasPrefix(line, "route "+netip.PrefixFrom(addr, addr.BitLen()).String()+" ") && strings.Contains(line, " dev "+name+" ") {
			if err := s.Sh(ctx, "ip route del %s dev %s", addr, name); err != nil {
				return err
			}
			return fails(s.Call(ctx, "CHECK", a), "the host's route to "+addr.String()+" is gone")
		}
	}
	return stage.Inapplicable("it makes no route to the container on the host")
}

// reservation finds the file that reserves the attachment's first address.
func reservation(a *stage.Attachment) (string, error) {
	result, err := stage.ResultOf(a)
	if err != nil {
		return "", err
	}
	addresses, err := result.Addresses()
	if err != nil || len(addresses) == 0 {
		return "", stage.Inapplicable("its result has no address")
	}
	files := stage.Find(addresses[0].Addr().String())
	if len(files) != 1 {
		return "", stage.Inapplicable("no file is named by the address, as host-local names its reservations")
	}
	return files[0], nil
}

func checkReservationGone(ctx context.Context, s *stage.Stage) error {
	a, err := checked(ctx, s)
	if err != nil {
		return err
	}
	file, err := reservation(a)
	if err != nil {
		return err
	}
	if err := s.Sh(ctx, "rm %s", file); err != nil {
		return err
	}
	return fails(s.Call(ctx, "CHECK", a), "the reservation "+file+" is gone")
}

func checkReservationOfAnother(ctx context.Context, s *stage.Stage) error {
	a, err := checked(ctx, s)
	if err != nil {
		return err
	}
	file, err := reservation(a)
	if err != nil {
		return err
	}
	if err := s.Sh(ctx, `printf 'somebody-else\r\neth0' >%s`, file); err != nil {
		return err
	}
	return fails(s.Call(ctx, "CHECK", a), "the reservation "+file+" is another container's")
}

func checkFirewallGone(ctx context.Context, s *stage.Stage) error {
	if s.Subject.Kind == subject.IPAM {
		return stage.Inapplicable("an IPAM plugin makes no rules")
	}
	if _, err := s.Attached(ctx, "z"); err != nil {
		return err
	}
	b, err := s.Container(ctx, "a")
	if err != nil {
		return err
	}
	before, err := s.Snapshot(ctx)
	if err != nil {
		return err
	}
	if err = s.Added(ctx, b); err != nil {
		return err
	}
	if r := s.Call(ctx, "CHECK", b); !r.OK() {
		return &stage.Blocked{What: "CHECK fails right after ADD: " + r.Brief(), Reply: &r}
	}
	now, err := s.Snapshot(ctx)
	if err != nil {
		return err
	}
	if !strings.Contains(strings.Join(now.Beyond(before), "\n"), "firewall ") {
		return stage.Inapplicable("ADD makes no rules of its own for a container")
	}
	if err := s.Sh(ctx, "nft flush ruleset"); err != nil {
		return err
	}
	return fails(s.Call(ctx, "CHECK", b), "its firewall rules are gone")
}

func checkNetnsGone(ctx context.Context, s *stage.Stage) error {
	return damaged(ctx, s, "the namespace is gone", "ip netns delete a")
}
