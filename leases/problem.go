package leases

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"

	"github.com/ropeway-net/ropeway/endpoint"
	"github.com/ropeway-net/ropeway/ipam"
)

const (
	remedyCollect = "free it with: ropewayctl ipam gc"
	remedyRestart = "restart the pod"
)

// problemsOf finds what does not fit in one network.
func (s *survey) problemsOf(n Network, found surveyed, sets []ipam.RangeSet) []Problem {
	var problems []Problem
	add := func(kind Kind, a netip.Addr, remedy, format string, args ...any) {
		problems = append(problems, Problem{kind, n.Name, a, fmt.Sprintf(format, args...), remedy})
	}
	for _, l := range n.Leases {
		free := remedyCollect
		if !n.Ours {
			free = "the network is host-local's: remove " + filepath.Join(n.Dir, l.Address.String()) + " once you are sure"
		}
		switch {
		case l.entry.Damage != "" && l.Use == InUse:
			add(Damaged, l.Address, remedyRestart+" that has the address", "its file is damaged (%s), and it is in use: %s", l.entry.Damage, l.Reason)
		case l.entry.Damage != "":
			add(Damaged, l.Address, free, "its file is damaged (%s)", l.entry.Damage)
		case l.entry.Stale && l.Use == InUse:
			add(EarlierBoot, l.Address, remedyRestart, "it was reserved in an earlier boot, and it is in use: %s", l.Reason)
		case l.entry.Stale:
			add(EarlierBoot, l.Address, free, "it was reserved in an earlier boot, for container %s", l.ContainerID)
		case l.Use == Unused:
			add(Leaked, l.Address, free, "reserved for container %s: %s", l.ContainerID, l.Reason)
		}
		if outside(sets, l.Address) && !l.entry.Stale {
			add(OutOfRange, l.Address, remedyRestart+" to give it another address", "it is in none of the network's ranges %v", sets)
		}
	}
	for _, name := range found.inventory.Strays {
		add(Stray, netip.Addr{}, "move it away", "no allocator writes %s", filepath.Join(n.Dir, name))
	}
	return problems
}

// duplicates finds addresses that two networks have given out.
func duplicates(networks []Network) []Problem {
	var problems []Problem
	first := map[netip.Addr]Lease{}
	for _, n := range networks {
		for _, l := range n.Leases {
			if l.entry.Damage != "" || l.entry.Stale || l.Use == Unused {
				continue
			}
			if other, ok := first[l.Address]; ok {
				problems = append(problems, Problem{Duplicate, n.Name, l.Address,
					fmt.Sprintf("network %s has given it to container %s too", other.Network, other.ContainerID),
					"give the networks ranges that do not overlap, and restart one of the pods"})
			}
			first[l.Address] = l
		}
	}
	return problems
}

// problemsOfRecords compares the records of this boot with reservations, links
// and each other.
func (s *survey) problemsOfRecords() []Problem {
	var problems []Problem
	holder := map[netip.Addr]endpoint.Record{}
	known := map[string]bool{}
	for _, r := range s.records {
		known[r.HostLink] = true
		if r.BootID != s.boot || !s.surveyed(r) || r.Created.After(s.now) {
			continue // the last came after the reservations had been read
		}
		for _, a := range r.Addresses {
			if other, ok := holder[a]; ok {
				problems = append(problems, Problem{Duplicate, r.Network, a,
					fmt.Sprintf("the records of %s and %s both have it", subject(other), subject(r)), "restart both pods"})
			}
			holder[a] = r
			if p, ok := s.reserved(r, a); !ok {
				problems = append(problems, p)
			}
		}
		problems = append(problems, s.problemsOfLink(r)...)
	}
	for name := range s.occupancy.PodLinks {
		if !known[name] && s.damaged == nil {
			problems = append(problems, Problem{Kind: LinkUnknown,
				Text: fmt.Sprintf("pod link %s has no record", name), Remedy: "have the runtime collect garbage, or: ip link delete " + name})
		}
	}
	if s.damaged != nil {
		for line := range strings.SplitSeq(s.damaged.Error(), "\n") {
			text, remedy, _ := strings.Cut(line, "; ")
			problems = append(problems, Problem{Kind: RecordDamaged, Text: text, Remedy: remedy})
		}
	}
	return problems
}

// surveyed tells whether the record's network is one of those looked at, or has
// no directory at all.
func (s *survey) surveyed(r endpoint.Record) bool {
	return !s.narrowed || slices.ContainsFunc(s.networks, func(n surveyed) bool { return n.name == r.Network })
}

// reserved makes sure that an address of a record is reserved for it, if our
// allocator is where it came from.
func (s *survey) reserved(r endpoint.Record, a netip.Addr) (Problem, bool) {
	if r.IPAM.Type != "ropeway-ipam" {
		return Problem{}, true
	}
	text := "nothing reserves it for " + subject(r)
	for _, n := range s.networks {
		if n.dir != filepath.Join(r.IPAM.DataDir, r.Network) {
			continue
		}
		i, found := slices.BinarySearchFunc(n.inventory.Entries, a, func(e ipam.Entry, a netip.Addr) int { return e.Address.Compare(a) })
		if !found || n.inventory.Entries[i].Stale || n.inventory.Entries[i].Damage != "" {
			continue
		}
		e := n.inventory.Entries[i]
		if e.ContainerID == r.ContainerID && (e.IfName == "" || e.IfName == r.IfName) {
			return Problem{}, true
		}
		text = fmt.Sprintf("%s has it, and it is reserved for container %s (%s)", subject(r), e.ContainerID, e.IfName)
	}
	return Problem{Unreserved, r.Network, a, text, remedyRestart + " before the address is given to another"}, false
}

func (s *survey) problemsOfLink(r endpoint.Record) []Problem {
	addresses, linked := s.occupancy.PodLinks[r.HostLink]
	if since, claimed := s.claim(r.ContainerID, r.IfName); claimed && s.now.Sub(since) < grace {
		return nil
	}
	if !linked && s.alive(r.Netns) {
		return []Problem{{Kind: LinkGone, Network: r.Network, Text: fmt.Sprintf("link %s of %s is gone", r.HostLink, subject(r)), Remedy: remedyRestart}}
	}
	if !linked {
		return nil // a pod that ended; its leases say so
	}
	var odd []string
	for _, a := range r.Addresses {
		if !slices.Contains(addresses, a) {
			odd = append(odd, a.String()+" is missing")
		}
	}
	for _, a := range addresses {
		if !slices.Contains(r.Addresses, a) {
			odd = append(odd, a.String()+" is not in the record")
		}
	}
	if len(odd) == 0 {
		return nil
	}
	return []Problem{{Kind: LinkDiffers, Network: r.Network,
		Text: fmt.Sprintf("link %s of %s has other addresses: %s", r.HostLink, subject(r), strings.Join(odd, ", ")), Remedy: remedyRestart}}
}

func subject(r endpoint.Record) string {
	if r.Pod.Name != "" {
		return "pod " + r.Pod.Namespace + "/" + r.Pod.Name
	}
	return "container " + r.ContainerID
}
