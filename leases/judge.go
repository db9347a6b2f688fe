package leases

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/ropeway-net/ropeway/endpoint"
)

// judge weighs the signs of life, the strongest first. One is enough.
func (s *survey) judge(l Lease, cached *result) (Use, string) {
	if use, reason, ok := s.judgeRecord(l); ok {
		return use, reason
	}
	if reason, ok := s.holder(l.Address); ok {
		return InUse, reason
	}
	if l.entry.Damage != "" {
		return Unused, "its file is damaged (" + l.entry.Damage + "), and nothing on this machine has the address"
	}
	if since, ok := s.claim(l.ContainerID, l.IfName); ok && s.now.Sub(since) < grace {
		return Attaching, fmt.Sprintf("the container has been attached for %s", s.now.Sub(since).Round(time.Second))
	}
	if l.record != nil {
		return s.judgeDead(*l.record)
	}
	if l.entry.Stale {
		return Unused, "an earlier boot made it"
	}
	if cached != nil && s.alive(cached.Netns) {
		return Unsure, "the runtime counts on it, and its namespace " + cached.Netns + " lives, without the address"
	}
	if age := s.now.Sub(l.entry.Modified); age < grace {
		return Unsure, fmt.Sprintf("nothing has the address, but an ADD may be under way: the file is younger than %s", grace)
	}
	return s.unlessBlind("no record, and nothing on this machine has the address")
}

// judgeRecord is about pods whose link is there.
func (s *survey) judgeRecord(l Lease) (Use, string, bool) {
	if l.record == nil || l.record.BootID != s.boot {
		return "", "", false
	}
	if _, linked := s.occupancy.PodLinks[l.record.HostLink]; linked {
		return InUse, "link " + l.record.HostLink, true
	}
	return "", "", false
}

// holder is who on this machine has the address.
func (s *survey) holder(a netip.Addr) (string, bool) {
	if paths := s.occupancy.Holders[a]; len(paths) > 0 {
		return "network namespace " + paths[0], true
	}
	if s.occupancy.Node[a] {
		return "the node itself", true
	}
	if link, ok := s.occupancy.Routes[a]; ok {
		return "a route to it on " + link, true
	}
	return "", false
}

// judgeDead is about a record without link, of whose address there is no sign.
// Its pod's other address is looked at too: a pod is freed as a whole.
func (s *survey) judgeDead(r endpoint.Record) (Use, string) {
	if r.BootID != s.boot {
		return Unused, "an earlier boot made it"
	}
	other := slices.IndexFunc(r.Addresses, func(a netip.Addr) bool { _, held := s.holder(a); return held })
	switch {
	case s.alive(r.Netns):
		return Unsure, "its link " + r.HostLink + " is gone, and its namespace " + r.Netns + " lives"
	case other >= 0:
		return Unsure, fmt.Sprintf("its link %s is gone, but its pod's %s is in use", r.HostLink, r.Addresses[other])
	case len(r.HostPorts) > 0:
		return Unsure, "its link and namespace are gone, but ports of the node may lead to it still"
	}
	return Unused, "its link and namespace are gone, and no DEL has come"
}

// unlessBlind is Unused only if every namespace was seen.
func (s *survey) unlessBlind(reason string) (Use, string) {
	if s.occupancy.Blind != "" {
		return Unsure, reason + " that was seen; " + s.occupancy.Blind
	}
	return Unused, reason
}
