package cases

import (
	"context"
	"net/netip"
	"slices"
	"strings"

	"github.com/ropeway-net/ropeway/integration/cni-conformance/stage"
	"github.com/ropeway-net/ropeway/integration/cni-conformance/subject"
)

func resultCases() []Case {
	return []Case{
		{Name: "result-version", Level: Must, What: "the result's cniVersion is the one of the input", Run: resultVersion},
		{Name: "result-container-interface", Level: Must, What: "interfaces has the container's, with the MAC that it has", Kinds: interfaceOnly(), Run: resultContainerInterface},
		{Name: "result-sandbox", Level: Should, What: "its sandbox is what CNI_NETNS said", Kinds: interfaceOnly(), Run: resultSandbox},
		{Name: "result-host-interfaces", Level: Must, What: "interfaces has every interface that ADD made on the host, and none that is not there", Kinds: interfaceOnly(), Run: resultHostInterfaces},
		{Name: "result-mtu", Level: Should, What: "interfaces have their MTU", Since: "1.1.0", Kinds: interfaceOnly(), Run: resultMTU},
		{Name: "result-ips", Level: Must, What: "ips has the addresses, in CIDR notation, that the interface has", Kinds: addressing(), Run: resultIPs},
		{Name: "result-ip-version", Level: Must, What: "before 1.0.0 each of ips says whether it is version 4 or 6", Kinds: addressing(), Run: resultIPVersion},
		{Name: "result-ip-interface", Level: Must, What: "each of ips points to the container's interface", Kinds: interfaceOnly(), Run: resultIPInterface},
		{Name: "result-routes", Level: Must, What: "routes are in CIDR notation, and in the container's tables", Kinds: addressing(), Run: resultRoutes},
		{Name: "result-ipam-abbreviated", Level: Must, What: "an IPAM plugin's result has no interfaces, and no interface in ips", Kinds: []subject.Kind{subject.IPAM}, Run: resultAbbreviated},
	}
}

// added attaches a container and parses the result.
func added(ctx context.Context, s *stage.Stage) (*stage.Attachment, stage.Reply, stage.Result, error) {
	a, err := s.Container(ctx, "a")
	if err != nil {
		return nil, stage.Reply{}, stage.Result{}, err
	}
	r := s.Add(ctx, a)
	if !r.OK() {
		return nil, r, stage.Result{}, &stage.Blocked{What: "ADD fails: " + r.Brief(), Reply: &r}
	}
	result, err := stage.ParseResult(r)
	return a, r, result, err
}

func resultVersion(ctx context.Context, s *stage.Stage) error {
	_, r, result, err := added(ctx, s)
	if err == nil && result.CNIVersion != s.Version {
		err = stage.Breached(r, "the result's cniVersion is %q, the input's %q", result.CNIVersion, s.Version)
	}
	return err
}

// containerInterface finds the container's interface in a result.
func containerInterface(result stage.Result, a *stage.Attachment) int {
	return slices.IndexFunc(result.Interfaces, func(l stage.ResultLink) bool { return l.Name == a.IfName && l.Sandbox != "" })
}

func resultContainerInterface(ctx context.Context, s *stage.Stage) error {
	a, r, result, err := added(ctx, s)
	if err != nil {
		return err
	}
	i := containerInterface(result, a)
	if i < 0 {
		return stage.Breached(r, "interfaces has no %s with a sandbox", a.IfName)
	}
	l, err := s.Link(a)
	if err != nil {
		return err
	}
	if l == nil || !strings.EqualFold(l.MAC, result.Interfaces[i].MAC) {
		return stage.Breached(r, "the MAC address in the result is %q, the kernel's %v", result.Interfaces[i].MAC, l)
	}
	return nil
}

func resultSandbox(ctx context.Context, s *stage.Stage) error {
	a, r, result, err := added(ctx, s)
	if err != nil {
		return err
	}
	if i := containerInterface(result, a); i < 0 || result.Interfaces[i].Sandbox != a.Netns {
		return stage.Breached(r, "no interface has the sandbox %s", a.Netns)
	}
	return nil
}

func resultHostInterfaces(ctx context.Context, s *stage.Stage) error {
	before, err := stage.HostLinks()
	if err != nil {
		return err
	}
	_, r, result, err := added(ctx, s)
	if err != nil {
		return err
	}
	s.Observe("ip link")
	after, err := stage.HostLinks()
	if err != nil {
		return err
	}
	listed := map[string]bool{}
	for _, l := range result.Interfaces {
		if l.Sandbox != "" {
			continue
		}
		listed[l.Name] = true
		mac, _, there := stage.HostLink(l.Name)
		if !there {
			return stage.Breached(r, "the host has no interface %s", l.Name)
		}
		if l.MAC != "" && !strings.EqualFold(l.MAC, mac) {
			return stage.Breached(r, "interface %s of the host has the MAC address %s, not %s", l.Name, mac, l.MAC)
		}
	}
	for name := range after {
		if !before[name] && !listed[name] {
			return stage.Breached(r, "ADD made the host's interface %s and does not list it", name)
		}
	}
	return nil
}

func resultMTU(ctx context.Context, s *stage.Stage) error {
	a, r, result, err := added(ctx, s)
	if err != nil {
		return err
	}
	for _, l := range result.Interfaces {
		if l.MTU == nil || *l.MTU == 0 {
			return stage.Breached(r, "interface %s has no mtu", l.Name)
		}
		_, mtu, there := stage.HostLink(l.Name)
		if l.Sandbox != "" {
			inside, err := s.Link(a)
			if err != nil {
				return err
			}
			if there = inside != nil; there {
				mtu = inside.MTU
			}
		}
		if there && mtu != *l.MTU {
			return stage.Breached(r, "interface %s has the MTU %d, not %d", l.Name, mtu, *l.MTU)
		}
	}
	return nil
}

func resultIPs(ctx context.Context, s *stage.Stage) error {
	a, r, result, err := added(ctx, s)
	if err != nil {
		return err
	}
	addresses, err := result.Addresses()
	if err != nil {
		return stage.Breached(r, "%v", err)
	}
	if len(addresses) == 0 {
		return stage.Breached(r, "ips is empty")
	}
	if s.Subject.Kind != subject.Interface {
		return nil
	}
	l, err := s.Link(a)
	if err != nil {
		return err
	}
	for _, p := range addresses {
		if l == nil || !slices.ContainsFunc(l.Addresses, func(q netip.Prefix) bool { return q.Addr() == p.Addr() }) {
			return stage.Breached(r, "the container's interface has not the address %s", p)
		}
	}
	return nil
}

func resultIPVersion(ctx context.Context, s *stage.Stage) error {
	if s.AtLeast("1.0.0") {
		return stage.Inapplicable("the specification has it before 1.0.0")
	}
	_, r, result, err := added(ctx, s)
	if err != nil {
		return err
	}
	for _, ip := range result.IPs {
		want := "4"
		if strings.Contains(ip.Address, ":") {
			want = "6"
		}
		if ip.Version != want {
			return stage.Breached(r, "address %s has the version %q", ip.Address, ip.Version)
		}
	}
	return nil
}

func resultIPInterface(ctx context.Context, s *stage.Stage) error {
	a, r, result, err := added(ctx, s)
	if err != nil {
		return err
	}
	for _, ip := range result.IPs {
		if ip.Interface == nil {
			return stage.Breached(r, "address %s points to no interface", ip.Address)
		}
		i := *ip.Interface
		if i < 0 || i >= len(result.Interfaces) || result.Interfaces[i].Name != a.IfName {
			return stage.Breached(r, "address %s points to interface %d, which is not %s", ip.Address, i, a.IfName)
		}
	}
	return nil
}

func resultRoutes(ctx context.Context, s *stage.Stage) error {
	a, r, result, err := added(ctx, s)
	if err != nil {
		return err
	}
	var there map[netip.Prefix]bool
	if s.Subject.Kind == subject.Interface {
		if there, err = s.Routes(a); err != nil {
			return err
		}
	}
	for _, route := range result.Routes {
		dst, err := netip.ParsePrefix(route.Dst)
		if err != nil {
			return stage.Breached(r, "the route's destination %q is not in CIDR notation", route.Dst)
		}
		if there != nil && !there[dst.Masked()] {
			return stage.Breached(r, "the container has no route to %s", route.Dst)
		}
	}
	return nil
}

func resultAbbreviated(ctx context.Context, s *stage.Stage) error {
	_, r, result, err := added(ctx, s)
	if err != nil {
		return err
	}
	if len(result.Interfaces) > 0 {
		return stage.Breached(r, "the result has interfaces")
	}
	for _, ip := range result.IPs {
		if ip.Interface != nil {
			return stage.Breached(r, "address %s has an interface", ip.Address)
		}
	}
	return nil
}

func dnsCases() []Case {
	return []Case{
		{Name: "result-dns", Level: Should, What: "dns of the configuration, where a plugin takes it, is in the result as it was meant", Kinds: interfaceOnly(), Run: resultDNS},
	}
}

func resultDNS(ctx context.Context, s *stage.Stage) error {
	a, err := s.Container(ctx, "a")
	if err != nil {
		return err
	}
	r := s.Add(ctx, a, stage.Key("dns", map[string]any{
		"nameservers": []any{"192.0.2.53", "2001:db8::53"}, "domain": "example.com",
		"search": []any{"a.example.com", "b.example.com"}, "options": []any{"ndots:5"},
	}))
	if !r.OK() {
		return &stage.Blocked{What: "ADD fails: " + r.Brief(), Reply: &r}
	}
	result, err := stage.ParseResult(r)
	if err != nil {
		return err
	}
	d := result.DNS
	if len(d.Nameservers)+len(d.Search)+len(d.Options) == 0 && d.Domain == "" {
		return stage.Inapplicable("it takes no dns from the configuration")
	}
	if !slices.Equal(d.Nameservers, []string{"192.0.2.53", "2001:db8::53"}) || d.Domain != "example.com" ||
		!slices.Equal(d.Search, []string{"a.example.com", "b.example.com"}) || !slices.Equal(d.Options, []string{"ndots:5"}) {
		return stage.Breached(r, "dns of the result is %+v", d)
	}
	return nil
}
