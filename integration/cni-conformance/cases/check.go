package cases

import (
	"context"
	"net/netip"
	"strings"

	"github.com/ropeway-net/ropeway/integration/cni-conformance/stage"
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
	if err = s.Sh(ctx, "ip -n a route add 203.0.113.0/24 dev eth0"); err != nil {
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
	if err = s.Sh(ctx, "ip -n a address add 198.51.100.7/32 dev eth0"); err != nil {
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
	if err = s.Sh(ctx, "ip -n a route del default; ip -n a -6 route del default || true"); err != nil {
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
	if err = s.Sh(ctx, "ip -n a link set eth0 address %s", mac); err != nil {
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
	if err = s.Sh(ctx, "ping -c 2 -i 0.2 -W 1 %s", addresses[0].Addr()); err != nil {
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
