package topology

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/ropeway-net/ropeway/daemon/cluster"
	"github.com/ropeway-net/ropeway/kernel"
)

// Compute decides what the node's kernel should hold. An error means that
// nothing can be decided and that what is there should stay; whatever concerns
// a single peer or pod is a Problem and stops nothing else. The result does
// not depend on the order of the input.
func Compute(in Input) (Result, error) {
	in = sorted(in)
	under, problems, err := findUnderlay(in)
	if err != nil {
		return Result{}, err
	}
	if err = checkSelf(in, under); err != nil {
		return Result{}, err
	}
	peers, peerProblems := admitPeers(in, under)
	problems = append(problems, peerProblems...)

	state := kernel.State{
		Links:      map[string]kernel.Link{},
		Addresses:  map[kernel.Address]struct{}{},
		Routes:     map[kernel.RouteKey]kernel.Route{},
		Neighbours: map[kernel.NeighbourKey]kernel.MAC{},
		FDB:        map[kernel.FDBEntry]struct{}{},
		Sysctls:    map[string]string{},
		Shapers:    map[kernel.ShaperKey]kernel.Shaper{},
	}
	tunnels, podMTU, mtuProblems, err := planTunnels(in, under)
	if err != nil {
		return Result{}, err
	}
	problems = append(problems, mtuProblems...)
	obstacles := tunnels.decideChecksums(in.Config.ChecksumOffload, under.primary.iface)
	tunnels.addTo(&state)
	addOwnPrefixes(&state, in.Self)

	paths, pathProblems := choosePaths(in.Config.Mode, peers, under, tunnels)
	problems = append(problems, pathProblems...)
	for _, p := range paths {
		addPath(&state, p, tunnels)
	}

	sources := preferredSources(in.Self)
	problems = append(problems, addEndpoints(&state, in, sources)...)
	if err := checkPodMTUs(in, podMTU); err != nil {
		problems = append(problems, err)
	}
	addSysctls(&state, in.Self, under, tunnels)
	state.Table = buildTable(in, peers, paths, tunnels)
	obstacles = append(obstacles, addAdmissions(&state, in, tunnels)...)
	problems = append(problems, unsolved(obstacles)...)
	problems = append(problems, addHostPorts(state.Table, in)...)
	addShapers(&state, in)

	return Result{State: state, PodMTU: podMTU, Sources: sources, Paths: published(paths), Problems: problems, Obstacles: obstacles}, nil
}

// sorted returns the input in a defined order, without touching the caller's
// slices, and without interfaces that are Ropeway's own.
func sorted(in Input) Input {
	in.Peers = slices.Clone(in.Peers)
	slices.SortFunc(in.Peers, func(a, b cluster.Node) int { return cmp.Compare(a.Name, b.Name) })
	in.Interfaces = slices.DeleteFunc(slices.Clone(in.Interfaces), func(i kernel.Interface) bool { return isOwn(i.Name) })
	slices.SortFunc(in.Interfaces, func(a, b kernel.Interface) int { return cmp.Compare(a.Name, b.Name) })
	in.Endpoints = slices.Clone(in.Endpoints)
	slices.SortFunc(in.Endpoints, compareEndpoints)
	return in
}

// checkSelf refuses pod CIDRs of this node with which it could not live.
func checkSelf(in Input, under underlay) error {
	if len(in.Self.PodCIDRs) == 0 {
		return fmt.Errorf("node %s has no pod CIDR; give it one of each family that its pods shall have", in.Self.Name)
	}
	var errs []error
	for _, own := range in.Self.PodCIDRs {
		if _, ok := TunnelAddress(own); !ok {
			errs = append(errs, fmt.Errorf("pod CIDR %s of node %s is too small; use /30 (IPv4), /126 (IPv6) or larger", own, in.Self.Name))
		}
		if iface, prefix, ok := under.overlapping(own); ok {
			errs = append(errs, fmt.Errorf("pod CIDR %s of node %s overlaps %s on interface %s; choose a pod CIDR that the network does not use", own, in.Self.Name, prefix, iface))
		}
	}
	return errors.Join(errs...)
}

// preferredSources are the node's addresses towards its own pods, the first
// of each family.
func preferredSources(self cluster.Node) []netip.Addr {
	var out []netip.Addr
	for _, f := range bothFamilies() {
		if a, ok := ofFamily(self.Addresses, f); ok {
			out = append(out, a)
		}
	}
	return out
}

// addOwnPrefixes answers packets to addresses that no pod holds with an ICMP
// error; they would otherwise leave by the default route and come back.
func addOwnPrefixes(s *kernel.State, self cluster.Node) {
	for _, own := range self.PodCIDRs {
		s.Routes[kernel.RouteKey{Dst: own}] = kernel.Route{Type: kernel.Unreachable}
	}
}
