package cases

import (
	"context"
	"slices"
	"strings"

	"github.com/ropeway-net/ropeway/integration/cni-conformance/stage"
)

func capabilityCases() []Case {
	return []Case{
		{Name: "capability-key-case", Level: Practice, What: "keys of portMappings are read in any letter case: containerd sends HostPort", Run: capabilityKeyCase},
		{Name: "capability-no-ports", Level: Practice, What: "an empty list of portMappings is no error", Run: capabilityNoPorts},
		{Name: "capability-mac", Level: Practice, What: "the MAC address that the runtime asks for is the interface's (capability mac)", Kinds: interfaceOnly(), Run: capabilityMAC},
	}
}

func wants(s *stage.Stage, capability string) error {
	if !s.Subject.Has(capability) {
		return stage.Inapplicable("its configuration does not declare the capability %s", capability)
	}
	return nil
}

// rulesOf attaches a container with a port mapping and returns the rules that
// this made, without what differs from container to container.
func rulesOf(ctx context.Context, s *stage.Stage, keys [3]string) (int, stage.Reply, error) {
	if _, err := s.Baseline(ctx); err != nil {
		return 0, stage.Reply{}, err
	}
	a, err := s.Container(ctx, strings.ToLower(keys[0]))
	if err != nil {
		return 0, stage.Reply{}, err
	}
	before, err := s.Snapshot(ctx)
	if err != nil {
		return 0, stage.Reply{}, err
	}
	r := s.Add(ctx, a, stage.Key("runtimeConfig", map[string]any{"portMappings": []any{
		map[string]any{keys[0]: 9090, keys[1]: 80, keys[2]: "tcp"},
	}}))
	if err = succeeds(r); err != nil {
		return 0, r, err
	}
	after, err := s.Snapshot(ctx)
	count := 0
	for _, line := range after.Beyond(before) {
		if strings.HasPrefix(line, "firewall ") && strings.Contains(line, "9090") {
			count++
		}
	}
	return count, r, err
}

func capabilityKeyCase(ctx context.Context, s *stage.Stage) error {
	if err := wants(s, "portMappings"); err != nil {
		return err
	}
	count, r, err := rulesOf(ctx, s, [3]string{"HostPort", "ContainerPort", "Protocol"})
	if err == nil && count == 0 {
		err = stage.Breached(r, "no rule holds the host port 9090")
	}
	return err
}

func capabilityNoPorts(ctx context.Context, s *stage.Stage) error {
	if err := wants(s, "portMappings"); err != nil {
		return err
	}
	a, err := s.Container(ctx, "a")
	if err != nil {
		return err
	}
	if err := succeeds(s.Add(ctx, a, stage.Key("runtimeConfig", map[string]any{"portMappings": []any{}}))); err != nil {
		return err
	}
	return succeeds(s.Call(ctx, "DEL", a, stage.Key("runtimeConfig", map[string]any{"portMappings": []any{}})))
}

func capabilityMAC(ctx context.Context, s *stage.Stage) error {
	if err := wants(s, "mac"); err != nil {
		return err
	}
	const mac = "02:11:22:33:44:55"
	a, err := s.Container(ctx, "a")
	if err != nil {
		return err
	}
	r := s.Add(ctx, a, stage.Key("runtimeConfig", map[string]any{"mac": mac}))
	if err = succeeds(r); err != nil {
		return err
	}
	l, err := s.Link(a)
	if err != nil {
		return err
	}
	result, err := stage.ParseResult(r)
	if err != nil {
		return err
	}
	if l == nil || l.MAC != mac || !slices.ContainsFunc(result.Interfaces, func(i stage.ResultLink) bool { return i.MAC == mac }) {
		return stage.Breached(r, "the interface, or the result, has not the MAC address %s", mac)
	}
	return nil
}
