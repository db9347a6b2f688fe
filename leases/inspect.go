package leases

import (
	"context"
	"math"
	"net/netip"
	"slices"

	"github.com/ropeway-net/ropeway/endpoint"
	"github.com/ropeway-net/ropeway/ipam"
)

// Inspect lists what every network of the node has given out, or those named
// only, with whatever does not fit together.
func Inspect(ctx context.Context, places Places, networks ...string) (Report, error) {
	s, err := take(ctx, places, networks)
	if err != nil {
		return Report{}, err
	}
	return s.report(ctx)
}

func (s *survey) report(ctx context.Context) (Report, error) {
	s.index()
	r := Report{Networks: []Network{}, Problems: []Problem{}}
	for _, n := range s.networks {
		network := Network{Name: n.name, Dir: n.dir, BootID: n.inventory.Boot, Ours: n.inventory.Boot != "", Leases: []Lease{}}
		for _, e := range n.inventory.Entries {
			l := s.lease(n, e)
			if l.Use == Unused && !ipam.Open(n.dir, s.boot).Still(e) {
				continue // detached while we looked
			}
			network.Leases = append(network.Leases, l)
		}
		cfg, known := s.config(n.name)
		if known {
			usage, err := ipam.Open(n.dir, s.boot).Usage(ctx, cfg)
			if err != nil {
				s.notes = append(s.notes, err.Error())
			}
			network.Ranges = ranges(usage)
		}
		r.Problems = append(r.Problems, s.problemsOf(network, n, cfg.RangeSets)...)
		r.Networks = append(r.Networks, network)
	}
	r.Problems = append(r.Problems, duplicates(r.Networks)...)
	r.Problems = append(r.Problems, s.problemsOfRecords()...)
	r.Notes = s.notes
	return r, ctx.Err()
}

func ranges(usage []ipam.Usage) []Range {
	var all []Range
	for _, u := range usage {
		r := Range{Range: u.RangeSet.String(), Used: u.Used, Total: u.Total}
		if u.Total == math.MaxUint64 {
			r.Total = 0
		}
		all = append(all, r)
	}
	return all
}

// lease gathers what is known of one address and judges it.
func (s *survey) lease(n surveyed, e ipam.Entry) Lease {
	l := Lease{
		Network: n.name, Address: e.Address, ContainerID: e.ContainerID, IfName: e.IfName,
		Since: e.Modified, BootID: n.inventory.Boot, dir: n.dir, entry: e,
	}
	cached := s.resultOf(l)
	if cached != nil {
		l.Pod, l.Netns = cached.pod(), cached.Netns
	}
	if l.record = s.recordOf(n, e); l.record != nil {
		l.Recorded, l.HostLink, l.BootID = true, l.record.HostLink, l.record.BootID
		l.Pod, l.Netns = l.record.Pod, l.record.Netns
		if !l.record.Created.IsZero() {
			l.Since = l.record.Created
		}
	}
	l.Use, l.Reason = s.judge(l, cached)
	return l
}

// place is an address in a network.
type place struct {
	network string
	address netip.Addr
}

// index sorts records and results by where they belong.
func (s *survey) index() {
	s.recordsAt = map[place][]*endpoint.Record{}
	for i, r := range s.records {
		for _, a := range r.Addresses {
			at := place{r.Network, a}
			s.recordsAt[at] = append(s.recordsAt[at], &s.records[i])
		}
	}
	s.resultsOf = map[[2]string][]*result{}
	for i, r := range s.results {
		of := [2]string{r.Network, r.ContainerID}
		s.resultsOf[of] = append(s.resultsOf[of], &s.results[i])
	}
}

// recordOf finds the record that names the address, or, for a file that names
// nobody, whichever record has it.
func (s *survey) recordOf(n surveyed, e ipam.Entry) *endpoint.Record {
	for _, r := range s.recordsAt[place{n.name, e.Address}] {
		if e.ContainerID == "" || r.ContainerID == e.ContainerID && (e.IfName == "" || r.IfName == e.IfName) {
			return r
		}
	}
	return nil
}

func (s *survey) resultOf(l Lease) *result {
	for _, r := range s.resultsOf[[2]string{l.Network, l.ContainerID}] {
		if l.IfName == "" || r.IfName == l.IfName {
			return r
		}
	}
	return nil
}

// outside tells whether no range set of a known configuration has a.
func outside(sets []ipam.RangeSet, a netip.Addr) bool {
	return len(sets) > 0 && !slices.ContainsFunc(sets, func(s ipam.RangeSet) bool { _, ok := s.Range(a); return ok })
}
