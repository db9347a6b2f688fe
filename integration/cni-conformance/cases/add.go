package cases

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/ropeway-net/ropeway/integration/cni-conformance/stage"
)

func addCases() []Case {
	return []Case{
		{Name: "add-succeeds", Level: Must, What: "ADD into a new container exits with 0 and prints one JSON object", Run: addSucceeds},
		{Name: "add-makes-interface", Level: Should, What: "ADD makes the interface CNI_IFNAME, up and with an address, in the container", Kinds: interfaceOnly(), Run: addMakesInterface},
		{Name: "add-existing-interface", Level: Must, What: "ADD fails when the container has an interface of that name", Kinds: interfaceOnly(), Run: addExistingInterface},
		{Name: "add-existing-interface-untouched", Level: Practice, What: "the interface that was there stays as it is, and the failed ADD leaves nothing", Kinds: interfaceOnly(), Run: addExistingUntouched},
		{Name: "add-twice", Level: Must, What: "ADD of an attachment that exists fails, and the attachment goes on working", Kinds: interfaceOnly(), Run: addTwice},
		{Name: "add-second-interface", Level: Practice, What: "a container can have two interfaces in the network", Run: addSecondInterface},
		{Name: "add-parallel", Level: Must, What: "eight containers at once are attached, each with addresses of its own", Run: addParallel},
		{Name: "add-missing-netns", Level: Must, What: "ADD fails when CNI_NETNS does not exist", Kinds: interfaceOnly(), Run: addMissingNetns},
		{Name: "add-missing-netns-leaves-nothing", Level: Practice, What: "an ADD without its namespace leaves nothing, before any DEL", Kinds: interfaceOnly(), Run: addMissingNetnsLeavesNothing},
		{Name: "add-own-netns", Level: Practice, What: "ADD into the host's own namespace fails, prints one JSON object and leaves nothing", Kinds: interfaceOnly(), Run: addOwnNetns},
		{Name: "add-beside-loopback", Level: Practice, What: "ADD works while another process sets up loopback in the same namespace", Run: addBesideLoopback},
	}
}

func addSucceeds(ctx context.Context, s *stage.Stage) error {
	a, err := s.Container(ctx, "a")
	if err != nil {
		return err
	}
	r := s.Add(ctx, a)
	if err = succeeds(r); err != nil {
		return err
	}
	_, err = stage.ParseResult(r)
	return err
}

func addMakesInterface(ctx context.Context, s *stage.Stage) error {
	a, err := s.Container(ctx, "a")
	if err != nil {
		return err
	}
	r := s.Add(ctx, a)
	if !r.OK() {
		return &stage.Blocked{What: "ADD fails: " + r.Brief(), Reply: &r}
	}
	l, err := s.Link(a)
	if err != nil {
		return err
	}
	if l == nil || !l.Up {
		return stage.Breached(r, "the container has no interface %s, or it is down", a.IfName)
	}
	for _, p := range l.Addresses {
		if !p.Addr().IsLinkLocalUnicast() {
			return nil
		}
	}
	return stage.Breached(r, "interface %s has no address", a.IfName)
}

func existing(ctx context.Context, s *stage.Stage) (*stage.Attachment, error) {
	a, err := s.Container(ctx, "a")
	if err != nil {
		return nil, err
	}
	return a, s.Sh(ctx, "ip -n a link add eth0 address 02:00:00:00:00:77 type veth peer name other")
}

func addExistingInterface(ctx context.Context, s *stage.Stage) error {
	a, err := existing(ctx, s)
	if err != nil {
		return err
	}
	return fails(s.Add(ctx, a), "eth0 exists in the container")
}

func addExistingUntouched(ctx context.Context, s *stage.Stage) error {
	before, err := s.Baseline(ctx)
	if err != nil {
		return err
	}
	a, err := existing(ctx, s)
	if err != nil {
		return err
	}
	r := s.Add(ctx, a)
	l, err := s.Link(a)
	if err != nil {
		return err
	}
	if l == nil || l.MAC != "02:00:00:00:00:77" || len(l.Addresses) > 0 {
		return stage.Breached(r, "the interface that was there is gone or changed")
	}
	return nothingBeyond(ctx, s, before, r, "the failed ADD")
}

func addTwice(ctx context.Context, s *stage.Stage) error {
	a, err := s.Attached(ctx, "a")
	if err != nil {
		return err
	}
	r := s.Call(ctx, "ADD", a)
	if err := fails(r, "the attachment exists"); err != nil {
		return err
	}
	return stillThere(ctx, s, a, r, "a second ADD")
}

// stillThere demands that an attachment works after something else happened.
func stillThere(ctx context.Context, s *stage.Stage, a *stage.Attachment, r stage.Reply, after string) error {
	if s.Subject.Kind == "interface" {
		l, err := s.Link(a)
		if err != nil {
			return err
		}
		if l == nil || !l.Up || len(l.Addresses) == 0 {
			return stage.Breached(r, "after %s, interface %s of container %s is gone, down or without address", after, a.IfName, a.ID)
		}
	}
	if s.AtLeast("0.4.0") {
		if c := s.Call(ctx, "CHECK", a); !c.OK() {
			return stage.Breached(c, "after %s, interface %s of container %s does not pass CHECK: %s", after, a.IfName, a.ID, c.Brief())
		}
	}
	return nil
}

func addSecondInterface(ctx context.Context, s *stage.Stage) error {
	a, err := s.Attached(ctx, "a")
	if err != nil {
		return err
	}
	b, err := s.Second(ctx, a, "net1")
	if err != nil {
		return err
	}
	r := s.Add(ctx, b)
	if err := succeeds(r); err != nil {
		return err
	}
	if err := distinct(r, a, b); err != nil {
		return err
	}
	return first(
		func() error { return stillThere(ctx, s, a, r, "ADD of another interface") },
		func() error { return stillThere(ctx, s, b, r, "ADD of it") },
	)
}

// withSecond attaches another interface of a container where that is the
// precondition; a plugin that cannot do it fails add-second-interface alone.
func withSecond(ctx context.Context, s *stage.Stage, a *stage.Attachment) (*stage.Attachment, error) {
	b, err := s.Second(ctx, a, "net1")
	if err != nil {
		return nil, err
	}
	if r := s.Add(ctx, b); !r.OK() {
		return nil, stage.Inapplicable("a second interface is refused: see add-second-interface")
	}
	return b, nil
}

// distinct demands that no address was given twice.
func distinct(r stage.Reply, attachments ...*stage.Attachment) error {
	holder := map[netip.Addr]*stage.Attachment{}
	for _, a := range attachments {
		result, err := stage.ResultOf(a)
		if err != nil {
			return err
		}
		addresses, err := result.Addresses()
		if err != nil {
			return stage.Breached(r, "%v", err)
		}
		for _, p := range addresses {
			if other, taken := holder[p.Addr()]; taken {
				return stage.Breached(r, "address %s was given to %s (%s) and to %s (%s)", p.Addr(), other.ID, other.IfName, a.ID, a.IfName)
			}
			holder[p.Addr()] = a
		}
	}
	return nil
}

func addParallel(ctx context.Context, s *stage.Stage) error {
	const count = 8
	var all []*stage.Attachment
	for i := range count {
		a, err := s.Container(ctx, fmt.Sprintf("p%d", i))
		if err != nil {
			return err
		}
		all = append(all, a)
	}
	replies := s.Parallel(ctx, all)
	for _, r := range replies {
		if err := succeeds(r); err != nil {
			return err
		}
	}
	if err := distinct(replies[0], all...); err != nil {
		return err
	}
	for i, a := range all {
		if err := stillThere(ctx, s, a, replies[i], "eight ADDs at once"); err != nil {
			return err
		}
	}
	return nil
}

func addMissingNetns(ctx context.Context, s *stage.Stage) error {
	return fails(s.Add(ctx, s.Unmade("nowhere")), "there is no such namespace")
}

func addMissingNetnsLeavesNothing(ctx context.Context, s *stage.Stage) error {
	before, err := s.Baseline(ctx)
	if err != nil {
		return err
	}
	r := s.Add(ctx, s.Unmade("nowhere"))
	return nothingBeyond(ctx, s, before, r, "the failed ADD")
}

func addOwnNetns(ctx context.Context, s *stage.Stage) error {
	before, err := s.Baseline(ctx)
	if err != nil {
		return err
	}
	if err := s.Sh(ctx, "ip netns attach host 1"); err != nil {
		return err
	}
	a := s.Unmade("host")
	r := s.Add(ctx, a)
	if err := fails(r, "CNI_NETNS is the namespace of the host"); err != nil {
		return err
	}
	if documents, err := stage.Documents(r.Stdout); err != nil || len(documents) > 1 {
		return stage.Breached(r, "it prints %d JSON documents", len(documents))
	}
	return nothingBeyond(ctx, s, before, r, "the failed ADD")
}

func addBesideLoopback(ctx context.Context, s *stage.Stage) error {
	a, err := s.Container(ctx, "a")
	if err != nil {
		return err
	}
	if err := s.Sh(ctx, "ip -n a link set lo down"); err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() {
		done <- s.Sh(ctx, "for i in 1 2 3 4 5 6 7 8; do ip -n a link set lo up; ip -n a link set lo down; done; ip -n a link set lo up")
	}()
	r := s.Add(ctx, a)
	if err := <-done; err != nil {
		return err
	}
	return succeeds(r)
}
