package kernel

import (
	"context"
	"maps"
	"net/netip"
)

// State is what Ropeway owns in one network namespace, desired or actual.
// The zero State is a namespace without a trace of Ropeway.
type State struct {
	Links      map[string]Link // tunnel devices by name
	Addresses  map[Address]struct{}
	Routes     map[RouteKey]Route
	Neighbours map[NeighbourKey]MAC // permanent ones on own links
	FDB        map[FDBEntry]struct{}
	// Sysctls by path below /proc/sys, for instance net/ipv4/ip_forward. A
	// key that desired does not name is left alone.
	Sysctls map[string]string
	Table   *Table // nil: no table
	// Shapers limit what passes pod links.
	Shapers map[ShaperKey]Shaper
	// Admissions are the rules of ours in chains of others, where they are in
	// time to accept packets of pods.
	Admissions map[Admission]AdmissionPlace
	// Strays are rules of ours in chains of others that do nothing there;
	// none are ever desired.
	Strays map[ForeignRule]struct{}
}

// String prints the commands that make the state in a namespace that has the
// interfaces it needs, sorted. The zero State is the empty string.
func (s State) String() string { return Diff(State{}, s).String() }

// Clone returns a copy that shares nothing with s.
func (s State) Clone() State {
	return State{
		Links:      maps.Clone(s.Links),
		Addresses:  maps.Clone(s.Addresses),
		Routes:     maps.Clone(s.Routes),
		Neighbours: maps.Clone(s.Neighbours),
		FDB:        maps.Clone(s.FDB),
		Sysctls:    maps.Clone(s.Sysctls),
		Table:      s.Table.clone(),
		Shapers:    maps.Clone(s.Shapers),
		Admissions: maps.Clone(s.Admissions),
		Strays:     maps.Clone(s.Strays),
	}
}

// newState returns a State whose maps can be written.
func newState() State {
	return State{
		Links:      map[string]Link{},
		Addresses:  map[Address]struct{}{},
		Routes:     map[RouteKey]Route{},
		Neighbours: map[NeighbourKey]MAC{},
		FDB:        map[FDBEntry]struct{}{},
		Sysctls:    map[string]string{},
		Shapers:    map[ShaperKey]Shaper{},
		Admissions: map[Admission]AdmissionPlace{},
		Strays:     map[ForeignRule]struct{}{},
	}
}

// Interface is a link that is not Ropeway's, as far as decisions need it.
type Interface struct {
	Name string
	Kind string // as the kernel names it, "" for a physical device
	MTU  int    // bytes
	Up   bool
	// Drivers are those of the hardware at the bottom, sorted, with commas in
	// between: of a bond those of its members.
	Drivers   string
	Addresses []netip.Prefix // each address with its on-link prefix length
	// Advertised says that a route or an address was learnt from router
	// advertisements, which the kernel ignores once it forwards IPv6, unless
	// accept_ra is 2.
	Advertised bool
}

// Snapshot is what the kernel held at one moment.
type Snapshot struct {
	State      State
	Interfaces []Interface      // sorted by name
	PodLinks   map[string]Admin // host ends of pod links that are in use
	Firewalls  []Firewall       // of others, that drop; sorted by chain
}

// Kernel is one network namespace's kernel. Its methods are safe for one
// caller at a time.
type Kernel interface {
	// Snapshot reads everything once: one dump per kind of object. A dump
	// that the kernel says was interrupted is repeated, never used.
	Snapshot(ctx context.Context) (Snapshot, error)
	// Apply carries out every operation of the plan, also when an earlier
	// one failed, and joins the errors. Adding what is there and deleting
	// what is gone are no errors.
	Apply(ctx context.Context, plan Plan) error
	// Watch reports that something Ropeway may care about changed in the
	// namespace, by anybody, Apply included. Reports are coalesced, of two the
	// greater stays; the channel is closed when ctx ends or, hardly ever, when
	// a socket breaks. A report that was lost by the kernel counts as [Changed].
	Watch(ctx context.Context) (<-chan Report, error)
	// Culprits returns who has changed what Ropeway owns since the last call,
	// as far as a watch has seen it and it can be known.
	Culprits() []Culprit
	// Close gives back the sockets.
	Close() error
}
