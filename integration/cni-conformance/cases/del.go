package cases

import (
	"context"
	"strings"

	"github.com/ropeway-net/ropeway/integration/cni-conformance/stage"
)

func delCases() []Case {
	return []Case{
		{Name: "del-succeeds", Level: Should, What: "DEL after ADD exits with 0", Run: delSucceeds},
		{Name: "del-removes-interface", Level: Should, What: "DEL removes the interface from the container", Kinds: interfaceOnly(), Run: delRemovesInterface},
		{Name: "del-leaves-nothing", Level: Should, What: "DEL undoes all that ADD did on the host: links, routes, rules, files", Run: delLeavesNothing},
		{Name: "del-prints-nothing", Level: Practice, What: "DEL prints nothing on success", Run: delPrintsNothing},
		{Name: "del-twice", Level: Must, What: "a second DEL exits with 0", Run: delTwice},
		{Name: "del-never-added", Level: Must, What: "DEL without an ADD exits with 0", Run: delNeverAdded},
		{Name: "del-interface-gone", Level: Must, What: "DEL exits with 0 when the interface is gone already", Kinds: interfaceOnly(), Run: delInterfaceGone},
		{Name: "del-without-netns", Level: Must, What: "DEL with CNI_NETNS empty, or left out, exits with 0", Run: delWithoutNetns},
		{Name: "del-without-netns-leaves-nothing", Level: Should, What: "DEL with an empty CNI_NETNS undoes all that is on the host, after the namespace is gone", Run: delWithoutNetnsLeavesNothing},
		{Name: "del-gone-netns", Level: Must, What: "DEL exits with 0 when the path in CNI_NETNS is gone", Run: delGoneNetns},
		{Name: "del-gone-netns-leaves-nothing", Level: Should, What: "DEL undoes all that is on the host when the path in CNI_NETNS is gone", Run: delGoneNetnsLeavesNothing},
		{Name: "del-without-prevresult", Level: Should, What: "DEL exits with 0 when prevResult is absent, null or empty", Run: delWithoutPrevResult},
		{Name: "del-without-prevresult-leaves-nothing", Level: Should, What: "DEL without prevResult undoes all that ADD did", Run: delWithoutPrevResultLeavesNothing},
	}
}

func delOddCases() []Case {
	return []Case{
		{Name: "del-keeps-others", Level: Should, What: "DEL of one container leaves another one working", Run: delKeepsOthers},
		{Name: "del-keeps-second-interface", Level: Should, What: "DEL of one interface leaves the container's other interface working, and its rules", Run: delKeepsSecondInterface},
		{Name: "del-netns-is-a-file", Level: Practice, What: "DEL exits with 0 when CNI_NETNS is a plain file, as a reboot leaves it, and undoes what is on the host", Run: delNetnsIsAFile},
		{Name: "del-creates-no-netns-file", Level: Practice, What: "DEL makes nothing at the path of a namespace that is gone", Run: delCreatesNoFile},
		{Name: "del-present-configuration", Level: Practice, What: "DEL undoes everything although the configuration has lost its addresses since ADD: runtimes send the present one", Kinds: addressing(), Run: delPresentConfiguration},
		{Name: "del-then-add", Level: Must, What: "after DEL the same container can be attached again", Run: delThenAdd},
	}
}

func delSucceeds(ctx context.Context, s *stage.Stage) error {
	a, err := s.Attached(ctx, "a")
	if err != nil {
		return err
	}
	return succeeds(s.Call(ctx, "DEL", a))
}

func delRemovesInterface(ctx context.Context, s *stage.Stage) error {
	a, err := s.Attached(ctx, "a")
	if err != nil {
		return err
	}
	r := s.Call(ctx, "DEL", a)
	l, err := s.Link(a)
	if err == nil && l != nil {
		err = stage.Breached(r, "interface %s is still there", a.IfName)
	}
	return err
}

// traceless attaches a container, lets detach do its work, and demands that
// the host is then as it was before ADD.
func traceless(ctx context.Context, s *stage.Stage, after string, detach func(*stage.Attachment) (stage.Reply, error)) error {
	before, err := s.Baseline(ctx)
	if err != nil {
		return err
	}
	a, err := s.Attached(ctx, "a")
	if err != nil {
		return err
	}
	r, err := detach(a)
	if err != nil {
		return err
	}
	if !r.OK() {
		return &stage.Blocked{What: "DEL fails: " + r.Brief(), Reply: &r}
	}
	// What was made in front of the plugin is not its to remove.
	s.Dismantle(ctx, a)
	if stage.Exists(a.Netns) {
		if err := s.RemoveNetns(ctx, a); err != nil {
			return err
		}
	}
	return nothingBeyond(ctx, s, before, r, after)
}

func delLeavesNothing(ctx context.Context, s *stage.Stage) error {
	return traceless(ctx, s, "DEL", func(a *stage.Attachment) (stage.Reply, error) {
		return s.Call(ctx, "DEL", a), nil
	})
}

func delPrintsNothing(ctx context.Context, s *stage.Stage) error {
	a, err := s.Attached(ctx, "a")
	if err != nil {
		return err
	}
	r := s.Call(ctx, "DEL", a)
	if r.OK() && strings.TrimSpace(r.Stdout) != "" {
		return stage.Breached(r, "it prints %q", r.Stdout)
	}
	return nil
}

func delTwice(ctx context.Context, s *stage.Stage) error {
	a, err := s.Attached(ctx, "a")
	if err != nil {
		return err
	}
	if err := s.Deleted(ctx, a); err != nil {
		return err
	}
	if err := succeeds(s.Call(ctx, "DEL", a)); err != nil {
		return err
	}
	return succeeds(s.Call(ctx, "DEL", a))
}

func delNeverAdded(ctx context.Context, s *stage.Stage) error {
	a, err := s.Container(ctx, "a")
	if err != nil {
		return err
	}
	return succeeds(s.Call(ctx, "DEL", a))
}

func delInterfaceGone(ctx context.Context, s *stage.Stage) error {
	a, err := s.Attached(ctx, "a")
	if err != nil {
		return err
	}
	if err := s.Sh(ctx, "ip -n a link delete eth0"); err != nil {
		return err
	}
	return succeeds(s.Call(ctx, "DEL", a))
}

func delWithoutNetns(ctx context.Context, s *stage.Stage) error {
	for name, option := range map[string]stage.Option{"a": stage.Env("CNI_NETNS", ""), "b": stage.NoEnv("CNI_NETNS")} {
		a, err := s.Attached(ctx, name)
		if err != nil {
			return err
		}
		if err := s.RemoveNetns(ctx, a); err != nil {
			return err
		}
		if err := succeeds(s.Call(ctx, "DEL", a, option)); err != nil {
			return err
		}
	}
	return nil
}

func delWithoutNetnsLeavesNothing(ctx context.Context, s *stage.Stage) error {
	return traceless(ctx, s, "DEL with an empty CNI_NETNS", func(a *stage.Attachment) (stage.Reply, error) {
		err := s.RemoveNetns(ctx, a)
		return s.Call(ctx, "DEL", a, stage.Env("CNI_NETNS", "")), err
	})
}

func delGoneNetns(ctx context.Context, s *stage.Stage) error {
	a, err := s.Attached(ctx, "a")
	if err != nil {
		return err
	}
	if err := s.RemoveNetns(ctx, a); err != nil {
		return err
	}
	return succeeds(s.Call(ctx, "DEL", a))
}

func delGoneNetnsLeavesNothing(ctx context.Context, s *stage.Stage) error {
	return traceless(ctx, s, "DEL with a CNI_NETNS that is gone", func(a *stage.Attachment) (stage.Reply, error) {
		err := s.RemoveNetns(ctx, a)
		return s.Call(ctx, "DEL", a), err
	})
}

func delWithoutPrevResult(ctx context.Context, s *stage.Stage) error {
	for i, option := range []stage.Option{stage.NoKey("prevResult"), stage.Key("prevResult", nil), stage.Key("prevResult", map[string]any{})} {
		a, err := s.Attached(ctx, []string{"a", "b", "c"}[i])
		if err != nil {
			return err
		}
		if err := succeeds(s.Call(ctx, "DEL", a, option)); err != nil {
			return err
		}
	}
	return nil
}

func delWithoutPrevResultLeavesNothing(ctx context.Context, s *stage.Stage) error {
	return traceless(ctx, s, "DEL without prevResult", func(a *stage.Attachment) (stage.Reply, error) {
		return s.Call(ctx, "DEL", a, stage.NoKey("prevResult")), nil
	})
}

func delKeepsOthers(ctx context.Context, s *stage.Stage) error {
	a, err := s.Attached(ctx, "a")
	if err != nil {
		return err
	}
	before, err := s.Snapshot(ctx)
	if err != nil {
		return err
	}
	b, err := s.Attached(ctx, "b")
	if err != nil {
		return err
	}
	r := s.Call(ctx, "DEL", b)
	if !r.OK() {
		return &stage.Blocked{What: "DEL fails: " + r.Brief(), Reply: &r}
	}
	return unharmed(ctx, s, before, a, r, "DEL of container "+b.ID)
}

// unharmed demands that everything of an earlier snapshot is still there and
// that the attachment works.
func unharmed(ctx context.Context, s *stage.Stage, before stage.Snapshot, a *stage.Attachment, r stage.Reply, after string) error {
	s.Show()
	now, err := s.Snapshot(ctx)
	if err != nil {
		return err
	}
	if lost := before.Beyond(now); len(lost) > 0 {
		return stage.Breached(r, "after %s the host has lost: %s", after, list(lost))
	}
	return stillThere(ctx, s, a, r, after)
}

func delKeepsSecondInterface(ctx context.Context, s *stage.Stage) error {
	a, err := s.Attached(ctx, "a")
	if err != nil {
		return err
	}
	before, err := s.Snapshot(ctx)
	if err != nil {
		return err
	}
	b, err := withSecond(ctx, s, a)
	if err != nil {
		return err
	}
	r := s.Call(ctx, "DEL", b)
	if !r.OK() {
		return &stage.Blocked{What: "DEL fails: " + r.Brief(), Reply: &r}
	}
	return unharmed(ctx, s, before, a, r, "DEL of net1")
}

func delNetnsIsAFile(ctx context.Context, s *stage.Stage) error {
	return traceless(ctx, s, "DEL with a plain file as CNI_NETNS", func(a *stage.Attachment) (stage.Reply, error) {
		if err := s.Sh(ctx, "ip netns delete a && : >/run/netns/a"); err != nil {
			return stage.Reply{}, err
		}
		r := s.Call(ctx, "DEL", a)
		if !r.OK() {
			return r, stage.Breached(r, "it should succeed, but %s", r.Brief())
		}
		return r, s.Sh(ctx, "rm -f /run/netns/a")
	})
}

func delCreatesNoFile(ctx context.Context, s *stage.Stage) error {
	a, err := s.Attached(ctx, "a")
	if err != nil {
		return err
	}
	if err := s.RemoveNetns(ctx, a); err != nil {
		return err
	}
	r := s.Call(ctx, "DEL", a)
	if stage.Exists(a.Netns) {
		return stage.Breached(r, "there is a file at %s now", a.Netns)
	}
	return nil
}

// addressKeys are where the usual plugins have their addresses.
func addressKeys() []string {
	return []string{"podCIDRs", "subnet", "ranges", "rangeStart", "rangeEnd"}
}

func delPresentConfiguration(ctx context.Context, s *stage.Stage) error {
	target := s.Subject.Plugins[s.Subject.Target]
	var options []stage.Option
	for _, key := range addressKeys() {
		if _, has := target[key]; has {
			options = append(options, stage.NoKey(key))
		}
	}
	if ipam, ok := target["ipam"].(map[string]any); ok {
		kept, lost := map[string]any{}, false
		for key, value := range ipam {
			kept[key] = value
		}
		for _, key := range addressKeys() {
			if _, has := kept[key]; has {
				delete(kept, key)
				lost = true
			}
		}
		if lost {
			options = append(options, stage.Key("ipam", kept))
		}
	}
	if len(options) == 0 {
		return stage.Inapplicable("its configuration has no addresses that could go")
	}
	return traceless(ctx, s, "DEL with a configuration that has no addresses", func(a *stage.Attachment) (stage.Reply, error) {
		r := s.Call(ctx, "DEL", a, options...)
		return r, succeeds(r)
	})
}

func delThenAdd(ctx context.Context, s *stage.Stage) error {
	a, err := s.Attached(ctx, "a")
	if err != nil {
		return err
	}
	if err := s.Deleted(ctx, a); err != nil {
		return err
	}
	s.Dismantle(ctx, a)
	again := s.Unmade("a")
	if err := s.Prepare(ctx, again); err != nil {
		return err
	}
	r := s.Add(ctx, again)
	if err := succeeds(r); err != nil {
		return err
	}
	return stillThere(ctx, s, again, r, "ADD, DEL, ADD")
}
