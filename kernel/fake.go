package kernel

import (
	"context"
	"errors"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
)

// Fake is an in-memory [Kernel], as strict as the real one: what needs a link
// fails without it, a gateway must be reachable, deleting a link takes with it
// what lives on it. It is safe for concurrent use.
type Fake struct {
	mu         sync.Mutex
	state      State
	interfaces map[string]Interface
	podLinks   map[string]Admin
	firewalls  []Firewall
	handles    uint64 // given to rules so far
	culprits   []Culprit
	// destinations is where each MAC was last forwarded to, by an entry
	// without destination; it may name entries that are gone.
	destinations map[FDBEntry]netip.Addr
	fail         func(Op) error
	applies      int
	applied      []Op
	watchers     map[*reports]struct{}
}

var _ Kernel = (*Fake)(nil)

// NewFake returns a namespace with somebody else's interfaces and without a
// trace of Ropeway.
func NewFake(interfaces ...Interface) *Fake {
	f := &Fake{
		state:        newState(),
		interfaces:   map[string]Interface{},
		podLinks:     map[string]Admin{},
		destinations: map[FDBEntry]netip.Addr{},
		watchers:     map[*reports]struct{}{},
	}
	for _, i := range interfaces {
		f.interfaces[i.Name] = i
	}
	return f
}

// SetInterface makes or changes an interface that is not Ropeway's.
func (f *Fake) SetInterface(i Interface) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.interfaces[i.Name] = i
	f.report()
}

// AddPodLink does what the CNI plugin does: it makes the host end of a pod
// link and sets it up.
func (f *Fake) AddPodLink(name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.podLinks[name] = AdminUp
	f.report()
}

// FailWith makes every operation for which match returns an error fail with
// it; a nil match ends that.
func (f *Fake) FailWith(match func(Op) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fail = match
}

// Damage carries out operations as somebody else would, behind Ropeway's
// back: they are not counted and injected failures do not concern them.
func (f *Fake) Damage(ops ...Op) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	var errs []error
	for _, op := range ops {
		if err := f.do(op); err != nil {
			errs = append(errs, &OpError{Op: op, Err: err})
		}
	}
	f.report()
	return errors.Join(errs...)
}

// Applies counts the calls of Apply so far.
func (f *Fake) Applies() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.applies
}

// Applied returns the operations that Apply has carried out so far.
func (f *Fake) Applied() []Op {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.applied)
}

// String prints the namespace: somebody else's interfaces and the pod links
// as comments, then the commands that make the rest.
func (f *Fake) String() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var b strings.Builder
	for _, name := range sortedKeys(f.interfaces) {
		b.WriteString("# " + name + "\n")
		for _, a := range f.interfaces[name].Addresses {
			b.WriteString("# " + name + " " + a.String() + "\n")
		}
	}
	for _, name := range sortedKeys(f.podLinks) {
		b.WriteString("# " + name + "\n")
	}
	b.WriteString(f.state.String())
	return b.String()
}

// Snapshot implements [Kernel].
func (f *Fake) Snapshot(ctx context.Context) (Snapshot, error) {
	if err := ctx.Err(); err != nil {
		return Snapshot{}, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	s := Snapshot{State: f.state.Clone(), PodLinks: maps.Clone(f.podLinks), Firewalls: slices.Clone(f.firewalls)}
	for _, name := range sortedKeys(f.interfaces) {
		i := f.interfaces[name]
		i.Addresses = slices.Clone(i.Addresses)
		s.Interfaces = append(s.Interfaces, i)
	}
	return s, nil
}

// Apply implements [Kernel].
func (f *Fake) Apply(ctx context.Context, plan Plan) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.applies++
	var errs []error
	for _, op := range plan.Ops {
		if err := ctx.Err(); err != nil {
			return errors.Join(append(errs, err)...)
		}
		err := f.injected(op)
		if err == nil {
			err = f.do(op)
		}
		if podLinkGone(op, err) {
			continue
		}
		if err != nil {
			errs = append(errs, &OpError{Op: op, Err: err})
			continue
		}
		f.applied = append(f.applied, op)
	}
	if !plan.Empty() {
		f.report()
	}
	return errors.Join(errs...)
}

func (f *Fake) injected(op Op) error {
	if f.fail == nil {
		return nil
	}
	return f.fail(op)
}

// Watch implements [Kernel].
func (f *Fake) Watch(ctx context.Context) (<-chan Report, error) {
	r := newReports()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.watchers[r] = struct{}{}
	context.AfterFunc(ctx, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.watchers, r)
		close(r.c)
	})
	return r.c, nil
}

// report tells every watcher, whose channel holds one report at most.
func (f *Fake) report() {
	for w := range f.watchers {
		w.send(Changed)
	}
}

// Blame names a culprit for the next call of Culprits.
func (f *Fake) Blame(c Culprit) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.culprits = append(f.culprits, c)
}

// Culprits implements [Kernel].
func (f *Fake) Culprits() []Culprit {
	f.mu.Lock()
	defer f.mu.Unlock()
	found := f.culprits
	f.culprits = nil
	return found
}

// Close implements [Kernel].
func (f *Fake) Close() error { return nil }
