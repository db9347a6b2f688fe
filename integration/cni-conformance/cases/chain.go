package cases

import (
	"context"
	"encoding/json"
	"reflect"
	"slices"

	"github.com/ropeway-net/ropeway/integration/cni-conformance/stage"
)

func chainCases() []Case {
	return []Case{
		{Name: "chain-prevresult-kept", Level: Must, What: "a plugin that gets a prevResult prints it, changed or not: addresses, interfaces and routes of it are not lost", Kinds: interfaceOnly(), Run: chainKept},
		{Name: "chain-prevresult-equivalent", Level: Must, What: "a chained plugin that changes nothing in the result prints an equivalent of prevResult", Kinds: chainedOnly(), Run: chainEquivalent},
	}
}

func chainKept(ctx context.Context, s *stage.Stage) error {
	a, err := s.Container(ctx, "a")
	if err != nil {
		return err
	}
	// What a first plugin of the list could have made.
	if err = s.Sh(ctx, "ip -n a link add first0 type veth peer name first1 && ip -n a address add 198.51.100.7/24 dev first0 && ip -n a link set first0 up"); err != nil {
		return err
	}
	ip := map[string]any{"address": "198.51.100.7/24", "interface": 0}
	if !s.AtLeast("1.0.0") {
		ip["version"] = "4"
	}
	r := s.Add(ctx, a, stage.Key("prevResult", map[string]any{
		"cniVersion": s.Version,
		"interfaces": []any{map[string]any{"name": "first0", "sandbox": a.Netns}},
		"ips":        []any{ip},
		"routes":     []any{map[string]any{"dst": "203.0.113.0/24"}},
		"dns":        map[string]any{"nameservers": []any{"192.0.2.53"}},
	}))
	if err = succeeds(r); err != nil {
		return err
	}
	result, err := stage.ParseResult(r)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(result.Interfaces, func(l stage.ResultLink) bool { return l.Name == "first0" })
	j := slices.IndexFunc(result.IPs, func(ip stage.ResultIP) bool { return ip.Address == "198.51.100.7/24" })
	k := slices.IndexFunc(result.Routes, func(r stage.ResultRoute) bool { return r.Dst == "203.0.113.0/24" })
	if i < 0 || j < 0 || k < 0 {
		return stage.Breached(r, "prevResult's interface, address or route is not in the result")
	}
	if p := result.IPs[j].Interface; p == nil || *p != i {
		return stage.Breached(r, "prevResult's address points to another interface than before")
	}
	for _, ip := range result.IPs {
		if ip.Interface == nil || *ip.Interface < 0 || *ip.Interface >= len(result.Interfaces) {
			return stage.Breached(r, "address %s points to no interface of the result", ip.Address)
		}
		if want := a.IfName; ip.Address != "198.51.100.7/24" && result.Interfaces[*ip.Interface].Name != want {
			return stage.Breached(r, "address %s points to %s instead of %s", ip.Address, result.Interfaces[*ip.Interface].Name, want)
		}
	}
	return nil
}

func chainEquivalent(ctx context.Context, s *stage.Stage) error {
	a, err := s.Container(ctx, "a")
	if err != nil {
		return err
	}
	r := s.Add(ctx, a)
	if err := succeeds(r); err != nil {
		return err
	}
	var sent struct {
		PrevResult map[string]any `json:"prevResult"`
	}
	if err := json.Unmarshal([]byte(r.Stdin), &sent); err != nil {
		return err
	}
	var got map[string]any
	if err := json.Unmarshal([]byte(r.Stdout), &got); err != nil {
		return stage.Breached(r, "the result is not JSON: %v", err)
	}
	if !reflect.DeepEqual(pruned(sent.PrevResult), pruned(got)) {
		return stage.Breached(r, "the result is not equivalent to prevResult")
	}
	return nil
}

// pruned is a document without what is empty, which means the same.
func pruned(v any) any {
	switch v := v.(type) {
	case map[string]any:
		m := map[string]any{}
		for key, value := range v {
			if p := pruned(value); p != nil {
				m[key] = p
			}
		}
		if len(m) == 0 {
			return nil
		}
		return m
	case []any:
		var l []any
		for _, value := range v {
			l = append(l, pruned(value))
		}
		if len(l) == 0 {
			return nil
		}
		return l
	}
	return v
}
