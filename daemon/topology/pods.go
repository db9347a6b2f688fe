package topology

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/ropeway-net/ropeway/endpoint"
	"github.com/ropeway-net/ropeway/kernel"
)

// compareEndpoints orders records by age, so that of two which claim the same
// address the later attachment comes last.
func compareEndpoints(a, b endpoint.Record) int {
	return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.ContainerID, b.ContainerID), cmp.Compare(a.IfName, b.IfName))
}

// addEndpoints adds a host route and a permanent neighbour for each address of
// each attached pod whose link is up. A record without one is an attachment
// that is just beginning or ending.
func addEndpoints(s *kernel.State, in Input, sources []netip.Addr) []error {
	holders := map[netip.Addr]endpoint.Record{}
	var problems []error
	for _, r := range in.Endpoints {
		if in.PodLinks[r.HostLink] != kernel.AdminUp || r.BootID != in.BootID {
			continue
		}
		for _, a := range r.Addresses {
			if err := objection(in.Interfaces, a); err != nil {
				problems = append(problems, fmt.Errorf("container %s: %w", r.ContainerID, err))
				continue
			}
			if earlier, taken := holders[a]; taken {
				problems = append(problems, fmt.Errorf("address %s is recorded for containers %s and %s, the later one gets the packets; detach one of them",
					a, earlier.ContainerID, r.ContainerID))
				delete(s.Neighbours, kernel.NeighbourKey{Link: earlier.HostLink, IP: a})
			}
			holders[a] = r
			host := whole(a)
			s.Routes[kernel.RouteKey{Dst: host}] = kernel.Route{Type: kernel.Unicast, Link: r.HostLink, Src: hostRouteSource(r, familyOf(a), in.Self.Addresses, sources)}
			s.Neighbours[kernel.NeighbourKey{Link: r.HostLink, IP: a}] = r.MAC
		}
	}
	return problems
}

// checkPodMTUs finds pods that were attached while paths carried more than
// now. Their links are not touched: the pods' sockets know the old value.
func checkPodMTUs(in Input, podMTU int) error {
	count, largest := 0, 0
	for _, r := range in.Endpoints {
		if in.PodLinks[r.HostLink] == kernel.AdminUp && r.BootID == in.BootID && r.MTU > podMTU {
			count++
			largest = max(largest, r.MTU)
		}
	}
	if count == 0 {
		return nil
	}
	return fmt.Errorf("%d pods have an MTU of up to %d, paths carry %d since they were attached: large packets need path MTU discovery; restart these pods", count, largest, podMTU)
}

// objection refuses a pod address that the machine itself holds: packets to it
// would never reach the pod, and the route would hide nothing but a mistake.
func objection(interfaces []kernel.Interface, a netip.Addr) error {
	if i, ok := holding(interfaces, a); ok {
		return errors.New("pod address " + a.String() + " is also on interface " + i.Name + " of the node; give the pod another one")
	}
	return nil
}

// hostRouteSource keeps what the plugin chose as long as it is an address of
// the node, so that plugin and daemon never undo each other's work.
func hostRouteSource(r endpoint.Record, f family, own, sources []netip.Addr) netip.Addr {
	if a, ok := ofFamily(r.Sources, f); ok && slices.Contains(own, a) {
		return a
	}
	a, _ := ofFamily(sources, f)
	return a
}
