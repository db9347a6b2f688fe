package cases

import (
	"context"
	"encoding/json"
	"reflect"
	"slices"
	"strings"

	"github.com/ropeway-net/ropeway/integration/cni-conformance/stage"
)

func delegateCases() []Case {
	return []Case{
		{Name: "delegate-called", Level: Must, What: "ADD, DEL and CHECK call the IPAM plugin, found in any directory of CNI_PATH", Kinds: interfaceOnly(), Run: delegateCalled},
		{Name: "delegate-gc", Level: Must, What: "GC is forwarded to the IPAM plugin", Since: since11, Kinds: interfaceOnly(), Run: delegateGC},
		{Name: "delegate-status", Level: Must, What: "STATUS is forwarded to the IPAM plugin", Since: since11, Kinds: interfaceOnly(), Run: delegateStatus},
		{Name: "delegate-environment", Level: Must, What: "the IPAM plugin gets the same environment variables", Kinds: interfaceOnly(), Run: delegateEnvironment},
		{Name: "delegate-configuration", Level: Must, What: "the IPAM plugin gets the complete configuration that the plugin got", Kinds: interfaceOnly(), Run: delegateConfiguration},
		{Name: "delegate-result", Level: Must, What: "the address that the IPAM plugin gave is the interface's", Kinds: interfaceOnly(), Run: delegateResult},
		{Name: "delegate-stderr", Level: Should, What: "what the IPAM plugin writes to standard error comes out of the plugin's", Kinds: interfaceOnly(), Run: delegateStderr},
	}
}

func delegateFailureCases() []Case {
	return []Case{
		{Name: "delegate-add-fails", Level: Should, What: "ADD fails when the IPAM plugin does", Kinds: interfaceOnly(), Run: delegateAddFails},
		{Name: "delegate-add-fails-del", Level: Should, What: "the IPAM plugin is called with DEL after its ADD failed", Kinds: interfaceOnly(), Run: delegateAddFailsDel},
		{Name: "delegate-check-fails", Level: Should, What: "CHECK fails when the IPAM plugin does", Since: checkSince, Kinds: interfaceOnly(), Run: delegateVerbFails("CHECK")},
		{Name: "delegate-del-fails", Level: Should, What: "DEL fails when the IPAM plugin does", Kinds: interfaceOnly(), Run: delegateVerbFails("DEL")},
		{Name: "delegate-gc-fails", Level: Should, What: "GC fails when the IPAM plugin does", Since: since11, Kinds: interfaceOnly(), Run: delegateVerbFails("GC")},
		{Name: "delegate-status-fails", Level: Should, What: "STATUS fails when the IPAM plugin does", Since: since11, Kinds: interfaceOnly(), Run: delegateVerbFails("STATUS")},
		{Name: "delegate-error-code", Level: Practice, What: "the IPAM plugin's error code comes through", Kinds: interfaceOnly(), Run: delegateErrorCode},
	}
}

// delegated attaches a container by the stage's own IPAM plugin.
func delegated(ctx context.Context, s *stage.Stage) (*stage.Attachment, stage.Reply, error) {
	if err := s.Delegated(ctx); err != nil {
		return nil, stage.Reply{}, err
	}
	a, err := s.Container(ctx, "a")
	if err != nil {
		return nil, stage.Reply{}, err
	}
	r := s.Add(ctx, a)
	if !r.OK() {
		return nil, r, &stage.Blocked{What: "ADD fails with an IPAM plugin of ours: " + r.Brief(), Reply: &r}
	}
	if !slices.Contains(stage.DelegateHeard(), "ADD") {
		return nil, r, stage.Inapplicable("it does not call the plugin that ipam.type names")
	}
	return a, r, nil
}

// heard demands that the delegate was asked a verb.
func heard(r stage.Reply, verb string) error {
	if !slices.Contains(stage.DelegateHeard(), verb) {
		return stage.Breached(r, "the IPAM plugin was not called with %s; it heard %v", verb, stage.DelegateHeard())
	}
	return nil
}

func attachmentVerbs(s *stage.Stage) []string {
	if s.AtLeast(checkSince) {
		return []string{"CHECK", "DEL"}
	}
	return []string{"DEL"}
}

func delegateCalled(ctx context.Context, s *stage.Stage) error {
	a, _, err := delegated(ctx, s)
	if err != nil {
		return err
	}
	for _, verb := range attachmentVerbs(s) {
		if err := heard(s.Call(ctx, verb, a), verb); err != nil {
			return err
		}
	}
	return nil
}

func delegateGC(ctx context.Context, s *stage.Stage) error {
	a, _, err := delegated(ctx, s)
	if err != nil {
		return err
	}
	return heard(s.Call(ctx, "GC", nil, stage.Key(validKey, attachments(a))), "GC")
}

func delegateStatus(ctx context.Context, s *stage.Stage) error {
	if _, _, err := delegated(ctx, s); err != nil {
		return err
	}
	return heard(s.Call(ctx, "STATUS", nil), "STATUS")
}

func delegateEnvironment(ctx context.Context, s *stage.Stage) error {
	a, r, err := delegated(ctx, s)
	if err != nil {
		return err
	}
	a.Args = "IgnoreUnknown=1;K8S_POD_NAME=web-0"
	for _, verb := range append([]string{"ADD"}, attachmentVerbs(s)...) {
		if verb != "ADD" {
			r = s.Call(ctx, verb, a)
		}
		got, _, err := stage.DelegateInput(verb)
		if err != nil {
			return stage.Breached(r, "%v", err)
		}
		for name, value := range r.Env {
			if got[name] != value {
				return stage.Breached(r, "%s: %s is %q for the plugin and %q for the IPAM plugin", verb, name, value, got[name])
			}
		}
	}
	return nil
}

func delegateConfiguration(ctx context.Context, s *stage.Stage) error {
	a, r, err := delegated(ctx, s)
	if err != nil {
		return err
	}
	for _, verb := range append([]string{"ADD"}, attachmentVerbs(s)...) {
		if verb != "ADD" {
			r = s.Call(ctx, verb, a)
		}
		_, stdin, err := stage.DelegateInput(verb)
		if err != nil {
			return stage.Breached(r, "%v", err)
		}
		var sent, got map[string]any
		if err := json.Unmarshal([]byte(r.Stdin), &sent); err != nil {
			return err
		}
		if err := json.Unmarshal(stdin, &got); err != nil {
			return stage.Breached(r, "%s: the IPAM plugin got %q", verb, stdin)
		}
		for key, value := range sent {
			if !reflect.DeepEqual(pruned(value), pruned(got[key])) {
				return stage.Breached(r, "%s: key %q is another one, or missing, for the IPAM plugin", verb, key)
			}
		}
	}
	return nil
}

func delegateResult(ctx context.Context, s *stage.Stage) error {
	a, r, err := delegated(ctx, s)
	if err != nil {
		return err
	}
	l, err := s.Link(a)
	if err != nil {
		return err
	}
	if l != nil {
		for _, p := range l.Addresses {
			if p.Addr().String() == "10.77.0.5" {
				return nil
			}
		}
	}
	return stage.Breached(r, "the interface has not the address 10.77.0.5")
}

func delegateStderr(ctx context.Context, s *stage.Stage) error {
	_, r, err := delegated(ctx, s)
	if err == nil && !strings.Contains(r.Stderr, "delegate speaking: ADD") {
		err = stage.Breached(r, "standard error is %q and has not what the IPAM plugin wrote", r.Stderr)
	}
	return err
}

// refused attaches a container whose IPAM plugin refuses.
func refused(ctx context.Context, s *stage.Stage) (stage.Reply, error) {
	a, _, err := delegated(ctx, s)
	if err != nil {
		return stage.Reply{}, err
	}
	if err = s.Deleted(ctx, a); err != nil {
		return stage.Reply{}, err
	}
	if err = s.DelegateFails(ctx, "ADD"); err != nil {
		return stage.Reply{}, err
	}
	if err = s.Sh(ctx, "rm %s/verbs", stage.Own); err != nil {
		return stage.Reply{}, err
	}
	b, err := s.Container(ctx, "b")
	if err != nil {
		return stage.Reply{}, err
	}
	return s.Add(ctx, b), nil
}

func delegateAddFails(ctx context.Context, s *stage.Stage) error {
	r, err := refused(ctx, s)
	if err != nil {
		return err
	}
	return fails(r, "the IPAM plugin failed")
}

func delegateAddFailsDel(ctx context.Context, s *stage.Stage) error {
	r, err := refused(ctx, s)
	if err != nil {
		return err
	}
	return heard(r, "DEL")
}

func delegateErrorCode(ctx context.Context, s *stage.Stage) error {
	r, err := refused(ctx, s)
	if err != nil {
		return err
	}
	_, err = codeIs(r, stage.DelegateCode)
	return err
}

func delegateVerbFails(verb string) func(context.Context, *stage.Stage) error {
	return func(ctx context.Context, s *stage.Stage) error {
		a, _, err := delegated(ctx, s)
		if err != nil {
			return err
		}
		if err := s.DelegateFails(ctx, verb); err != nil {
			return err
		}
		var r stage.Reply
		switch verb {
		case "GC":
			r = s.Call(ctx, verb, nil, stage.Key(validKey, attachments(a)))
		case "STATUS":
			r = s.Call(ctx, verb, nil)
		default:
			r = s.Call(ctx, verb, a)
		}
		if !slices.Contains(stage.DelegateHeard(), verb) {
			return stage.Inapplicable("it does not call the IPAM plugin with %s", verb)
		}
		return fails(r, "the IPAM plugin failed")
	}
}
