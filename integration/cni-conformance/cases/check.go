package cases

import (
	"context"
	"net/netip"
	"strings"

	"github.com/ropeway-net/ropeway/integration/cni-conformance/stage"
	"github.com/ropeway-net/ropeway/integration/cni-conformance/subject"
)

// checkSince is the version of the specification that brought CHECK.
const checkSince = "0.4.0"

func checkCases() []Case {
	return []Case{
		{Name: "check-after-add", Level: Must, What: "CHECK exits with 0 immediately after ADD", Since: checkSince, Run: checkAfterAdd},
		{Name: "check-prints-nothing", Level: Practice, What: "CHECK prints nothing on success", Since: checkSince, Run: checkPrintsNothing},
		{Name: "check-reads-prevresult", Level: Must, What: "CHECK fails when prevResult has another address than the interface", Since: checkSince, Kinds: interfaceOnly(), Run: checkReadsPrevResult},
		{Name: "check-wants-prevresult", Level: Practice, What: "CHECK without prevResult fails", Since: checkSince, Kinds: interfaceOnly(), Run: checkWantsPrevResult},
		{Name: "check-allows-more-routes", Level: Must, What: "CHECK passes when a later plugin has added a route, and prevResult says so", Since: checkSince, Kinds: interfaceOnly(), Run: checkAllowsMoreRoutes},
		{Name: "check-allows-more-addresses", Level: Must, What: "CHECK passes when a later plugin has added an address, without a gateway, and prevResult says so", Since: checkSince, Kinds: interfaceOnly(), Run: checkAllowsMoreAddresses},
		{Name: "check-allows-fewer-routes", Level: Must, What: "CHECK passes when a later plugin has taken the default routes away, and prevResult says so", Since: checkSince, Kinds: interfaceOnly(), Run: checkAllowsFewerRoutes},
		{Name: "check-allows-new-mac", Level: Practice, What: "CHECK passes when a later plugin has changed the MAC address, as tuning does, prevResult says so, and the host reaches the container", Since: checkSince, Kinds: interfaceOnly(), Run: checkAllowsNewMAC},
		{Name: "check-under-capture", Level: Practice, What: "CHECK passes while somebody captures packets on the host's interfaces", Since: checkSince, Kinds: interfaceOnly(), Run: checkUnderCapture},
		{Name: "check-after-del", Level: Practice, What: "CHECK fails after DEL", Since: checkSince, Kinds: addressing(), Run: checkAfterDel},
	}
}

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

func checkAfterAdd(ctx context.Context, s *stage.Stage) error {
	a, err := s.Attached(ctx, "a")
	if err != nil {
		return err
	}
	return succeeds(s.Call(ctx, "CHECK", a))
}

func checkPrintsNothing(ctx context.Context, s *stage.Stage) error {
	a, err := checked(ctx, s)
	if err != nil {
		return err
	}
	r := s.Call(ctx, "CHECK", a)
	if r.OK() && strings.TrimSpace(r.Stdout) != "" {
		return stage.Breached(r, "it prints %q", r.Stdout)
	}
	return nil
}

// checked attaches a container for which CHECK passes.
func checked(ctx context.Context, s *stage.Stage) (*stage.Attachment, error) {
	a, err := s.Attached(ctx, "a")
	if err != nil {
		return nil, err
	}
	if r := s.Call(ctx, "CHECK", a); !r.OK() {
		return nil, &stage.Blocked{What: "CHECK fails right after ADD: " + r.Brief(), Reply: &r}
	}
	return a, nil
}

// altered is the result of ADD after a change, as prevResult.
func altered(a *stage.Attachment, change func(result map[string]any)) (stage.Option, error) {
	doc, err := stage.Document(a.Result)
	if err != nil {
		return nil, err
	}
	change(doc)
	return stage.Key("prevResult", doc), nil
}

func checkReadsPrevResult(ctx context.Context, s *stage.Stage) error {
	a, err := checked(ctx, s)
	if err != nil {
		return err
	}
	option, err := altered(a, func(result map[string]any) {
		for _, one := range result["ips"].([]any) {
			ip := one.(map[string]any)
			p, parseErr := netip.ParsePrefix(ip["address"].(string))
			if parseErr != nil {
				continue
			}
			other := netip.MustParseAddr("198.51.100.99")
			if p.Addr().Is6() {
				other = netip.MustParseAddr("2001:db8::99")
			}
			ip["address"] = netip.PrefixFrom(other, p.Bits()).String()
		}
	})
	if err != nil {
		return err
	}
	return fails(s.Call(ctx, "CHECK", a, option), "prevResult has addresses that the interface has not")
}

func checkWantsPrevResult(ctx context.Context, s *stage.Stage) error {
	a, err := checked(ctx, s)
	if err != nil {
		return err
	}
	return fails(s.Call(ctx, "CHECK", a, stage.NoKey("prevResult")), "there is no prevResult")
}

func checkAllowsMoreRoutes(ctx context.Context, s *stage.Stage) error {
	a, err := checked(ctx, s)
	if err != nil {
		return err
	}
	if err := s.Sh(ctx, "ip -n a route add 203.0.113.0/24 dev eth0"); err != nil {
		return err
	}
	option, err := altered(a, func(result map[string]any) {
		routes, _ := result["routes"].([]any)
		result["routes"] = append(routes, map[string]any{"dst": "203.0.113.0/24"})
	})
	if err != nil {
		return err
	}
	return succeeds(s.Call(ctx, "CHECK", a, option))
}

func checkAllowsMoreAddresses(ctx context.Context, s *stage.Stage) error {
	a, err := checked(ctx, s)
	if err != nil {
		return err
	}
	if err := s.Sh(ctx, "ip -n a address add 198.51.100.7/32 dev eth0"); err != nil {
		return err
	}
	ip := map[string]any{"address": "198.51.100.7/32"}
	if !s.AtLeast("1.0.0") {
		ip["version"] = "4"
	}
	option, err := altered(a, func(result map[string]any) {
		ips, _ := result["ips"].([]any)
		if index, ok := ips[0].(map[string]any)["interface"]; ok {
			ip["interface"] = index
		}
		result["ips"] = append(ips, ip)
	})
	if err != nil {
		return err
	}
	return succeeds(s.Call(ctx, "CHECK", a, option))
}

func checkAllowsFewerRoutes(ctx context.Context, s *stage.Stage) error {
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
	if err := s.Sh(ctx, "ip -n a route del default; ip -n a -6 route del default || true"); err != nil {
		return err
	}
	option, err := altered(a, func(result map[string]any) {
		var kept []any
		for _, one := range result["routes"].([]any) {
			if dst := one.(map[string]any)["dst"]; dst != "0.0.0.0/0" && dst != "::/0" {
				kept = append(kept, one)
			}
		}
		result["routes"] = kept
	})
	if err != nil {
		return err
	}
	return succeeds(s.Call(ctx, "CHECK", a, option))
}

func checkAllowsNewMAC(ctx context.Context, s *stage.Stage) error {
	a, err := checked(ctx, s)
	if err != nil {
		return err
	}
	const mac = "02:00:00:00:00:42"
	if err := s.Sh(ctx, "ip -n a link set eth0 address %s", mac); err != nil {
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
	if err := s.Sh(ctx, "ping -c 2 -i 0.2 -W 1 %s", addresses[0].Addr()); err != nil {
		return stage.Inapplicable("the host does not reach the container with another MAC address, and CHECK may say so; the capability mac is the way to ask for one")
	}
	option, err := altered(a, func(result map[string]any) {
		for _, one := range result["interfaces"].([]any) {
			if l := one.(map[string]any); l["name"] == a.IfName && l["sandbox"] != nil {
				l["mac"] = mac
			}
		}
	})
	if err != nil {
		return err
	}
	return succeeds(s.Call(ctx, "CHECK", a, option))
}

func checkUnderCapture(ctx context.Context, s *stage.Stage) error {
	a, err := checked(ctx, s)
	if err != nil {
		return err
	}
	if err := s.Sh(ctx, `for l in $(ls /sys/class/net); do [ $l = lo ] || ip link set $l promisc on; done`); err != nil {
		return err
	}
	return succeeds(s.Call(ctx, "CHECK", a))
}

func checkAfterDel(ctx context.Context, s *stage.Stage) error {
	a, err := checked(ctx, s)
	if err != nil {
		return err
	}
	if err := s.Deleted(ctx, a); err != nil {
		return err
	}
	return fails(s.Call(ctx, "CHECK", a), "the container was detached")
}

// damaged runs CHECK after a command has done harm.
func damaged(ctx context.Context, s *stage.Stage, because, format string, args ...any) error {
	a, err := checked(ctx, s)
	if err != nil {
		return err
	}
	if err := s.Sh(ctx, format, args...); err != nil {
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
	if err := s.Added(ctx, b); err != nil {
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
