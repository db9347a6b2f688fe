package cases

import (
	"context"

	"github.com/ropeway-net/ropeway/integration/cni-conformance/stage"
	"github.com/ropeway-net/ropeway/integration/cni-conformance/subject"
)

const (
	validKey      = "cni.dev/valid-attachments"
	validKeyOlder = "cni.dev/attachments"
)

func gcCases() []Case {
	return []Case{
		{Name: "gc-succeeds", Level: Should, What: "GC with a list of all attachments exits with 0, and needs nothing of an attachment", Since: since11, Run: gcSucceeds},
		{Name: "gc-removes-stale", Level: Should, What: "GC removes what belongs to an attachment that is not listed and whose namespace is gone", Since: since11, Run: gcRemovesStale},
		{Name: "gc-frees-addresses", Level: Should, What: "GC frees the reservation of an attachment that is not listed", Since: since11, Kinds: addressing(), Run: gcFreesAddresses},
		{Name: "gc-keeps-valid", Level: Must, What: "GC leaves the listed attachments working", Since: since11, Run: gcKeepsValid},
		{Name: "gc-interface-name", Level: Should, What: "GC tells apart two interfaces of one container", Since: since11, Run: gcInterfaceName},
	}
}

func gcListCases() []Case {
	return []Case{
		{Name: "gc-empty-list", Level: Should, What: "GC with an empty list removes everything of the network", Since: since11, Run: gcEmptyList},
		{Name: "gc-absent-list", Level: Practice, What: "GC without any list removes nothing", Since: since11, Run: gcAbsentList},
		{Name: "gc-older-key", Level: Practice, What: "GC reads cni.dev/attachments, the key that runtimes sent at first", Since: since11, Run: gcOlderKey},
		{Name: "gc-own-network", Level: Practice, What: "GC of one network leaves those of another one alone", Since: since11, Run: gcOwnNetwork},
		{Name: "gc-twice", Level: Practice, What: "a second GC exits with 0", Since: since11, Run: gcTwice},
	}
}

// attachments is the list that a runtime sends.
func attachments(all ...*stage.Attachment) []any {
	l := []any{}
	for _, a := range all {
		l = append(l, map[string]any{"containerID": a.ID, "ifname": a.IfName})
	}
	return l
}

func gcSucceeds(ctx context.Context, s *stage.Stage) error {
	a, err := s.Attached(ctx, "a")
	if err != nil {
		return err
	}
	return succeeds(s.Call(ctx, "GC", nil, stage.Key(validKey, attachments(a))))
}

// withStale attaches two containers, of which the second loses its namespace.
func withStale(ctx context.Context, s *stage.Stage) (valid, stale *stage.Attachment, before stage.Snapshot, err error) {
	if _, err = s.Baseline(ctx); err != nil {
		return nil, nil, nil, err
	}
	if valid, err = s.Attached(ctx, "a"); err != nil {
		return nil, nil, nil, err
	}
	if before, err = s.Snapshot(ctx); err != nil {
		return nil, nil, nil, err
	}
	if stale, err = s.Attached(ctx, "b"); err != nil {
		return nil, nil, nil, err
	}
	after, err := s.Snapshot(ctx)
	if err == nil && len(after.Beyond(before)) == 0 {
		err = stage.Inapplicable("ADD leaves nothing on the host that GC could remove")
	}
	return valid, stale, before, err
}

func gcRemovesStale(ctx context.Context, s *stage.Stage) error {
	valid, stale, before, err := withStale(ctx, s)
	if err != nil {
		return err
	}
	r := s.Call(ctx, "GC", nil, stage.Key(validKey, attachments(valid)))
	s.Dismantle(ctx, stale)
	if err := s.RemoveNetns(ctx, stale); err != nil {
		return err
	}
	return nothingBeyond(ctx, s, before, r, "GC")
}

func gcFreesAddresses(ctx context.Context, s *stage.Stage) error {
	a, err := s.Attached(ctx, "a")
	if err != nil {
		return err
	}
	file, err := reservation(a)
	if err != nil {
		return err
	}
	if err := s.RemoveNetns(ctx, a); err != nil {
		return err
	}
	r := s.Call(ctx, "GC", nil, stage.Key(validKey, attachments()))
	s.Observe("ls -l %s", file)
	if stage.Exists(file) {
		return stage.Breached(r, "after GC there is still the reservation %s", file)
	}
	return nil
}

func gcKeepsValid(ctx context.Context, s *stage.Stage) error {
	valid, _, before, err := withStale(ctx, s)
	if err != nil {
		return err
	}
	r := s.Call(ctx, "GC", nil, stage.Key(validKey, attachments(valid)))
	return unharmed(ctx, s, before, valid, r, "GC that lists it")
}

func gcInterfaceName(ctx context.Context, s *stage.Stage) error {
	if _, err := s.Baseline(ctx); err != nil {
		return err
	}
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
	r := s.Call(ctx, "GC", nil, stage.Key(validKey, attachments(a)))
	if err := unharmed(ctx, s, before, a, r, "GC that lists eth0"); err != nil {
		return err
	}
	// An interface in a namespace that is there may stay; a plugin in front
	// made it, or GC assumes that it is gone.
	s.Dismantle(ctx, b)
	if err := s.Sh(ctx, "ip -n a link delete net1 2>/dev/null || true"); err != nil {
		return err
	}
	return nothingBeyond(ctx, s, before, r, "GC that does not list net1")
}

// afterEmptyGC attaches a container, ends its namespace and runs GC.
func afterEmptyGC(ctx context.Context, s *stage.Stage, options ...stage.Option) (stage.Reply, stage.Snapshot, error) {
	before, err := s.Baseline(ctx)
	if err != nil {
		return stage.Reply{}, nil, err
	}
	a, err := s.Attached(ctx, "a")
	if err != nil {
		return stage.Reply{}, nil, err
	}
	s.Dismantle(ctx, a)
	if err := s.RemoveNetns(ctx, a); err != nil {
		return stage.Reply{}, nil, err
	}
	return s.Call(ctx, "GC", nil, options...), before, nil
}

func gcEmptyList(ctx context.Context, s *stage.Stage) error {
	r, before, err := afterEmptyGC(ctx, s, stage.Key(validKey, attachments()))
	if err != nil {
		return err
	}
	return nothingBeyond(ctx, s, before, r, "GC with an empty list")
}

func gcAbsentList(ctx context.Context, s *stage.Stage) error {
	a, err := s.Attached(ctx, "a")
	if err != nil {
		return err
	}
	before, err := s.Snapshot(ctx)
	if err != nil {
		return err
	}
	r := s.Call(ctx, "GC", nil)
	return unharmed(ctx, s, before, a, r, "GC without a list")
}

func gcOlderKey(ctx context.Context, s *stage.Stage) error {
	valid, stale, before, err := withStale(ctx, s)
	if err != nil {
		return err
	}
	r := s.Call(ctx, "GC", nil, stage.Key(validKeyOlder, attachments(valid)))
	if err := unharmed(ctx, s, before, valid, r, "GC that lists it under "+validKeyOlder); err != nil {
		return err
	}
	s.Dismantle(ctx, stale)
	if err := s.RemoveNetns(ctx, stale); err != nil {
		return err
	}
	return nothingBeyond(ctx, s, before, r, "GC")
}

func gcOwnNetwork(ctx context.Context, s *stage.Stage) error {
	if s.Subject.Kind == subject.Chained {
		return stage.Inapplicable("the plugins in front of it would have to be in two networks, too")
	}
	a, err := s.Attached(ctx, "a")
	if err != nil {
		return err
	}
	before, err := s.Snapshot(ctx)
	if err != nil {
		return err
	}
	r := s.Call(ctx, "GC", nil, stage.Key("name", "another-network"), stage.Key(validKey, attachments()))
	return unharmed(ctx, s, before, a, r, "GC of another network")
}

func gcTwice(ctx context.Context, s *stage.Stage) error {
	if r, _, err := afterEmptyGC(ctx, s, stage.Key(validKey, attachments())); err != nil {
		return err
	} else if err := succeeds(r); err != nil {
		return err
	}
	return succeeds(s.Call(ctx, "GC", nil, stage.Key(validKey, attachments())))
}
