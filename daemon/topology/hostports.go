package topology

import (
	"fmt"
	"net/netip"

	"github.com/ropeway-net/ropeway/endpoint"
	"github.com/ropeway-net/ropeway/hostports"
	"github.com/ropeway-net/ropeway/kernel"
)

// addHostPorts leads ports of the node to attached pods. Of two that claim the
// same port the earlier attachment has it: the plugin refuses the later one, so
// this is the work of somebody who edits records.
func addHostPorts(table *kernel.Table, in Input) []error {
	add := hostports.Table()
	for name, s := range add.Sets {
		table.Sets[name] = s
	}
	for name, m := range add.Maps {
		table.Maps[name] = m
	}
	for name, c := range add.Chains {
		table.Chains[name] = c
	}
	for _, i := range in.Interfaces {
		if i.Name == kernel.ServiceLink {
			hostports.HideServices(table, addressesOfServices(in.Interfaces, i))
		}
	}
	var problems []error
	taken := hostports.Index[endpoint.Record]{}
	for _, r := range in.Endpoints {
		if in.PodLinks[r.HostLink] != kernel.AdminUp || r.BootID != in.BootID {
			continue
		}
		var free []hostports.Target
		for _, t := range hostports.Targets(r.HostPorts, r.Addresses) {
			if _, earlier, overlaps := taken.Find(t); overlaps {
				problems = append(problems, fmt.Errorf("host port %s is recorded for containers %s and %s, the earlier one gets the packets; detach one of them",
					t, earlier.ContainerID, r.ContainerID))
				continue
			}
			free = append(free, t)
		}
		for _, t := range free {
			taken.Add(t, r) // a pod's own ports may overlap
		}
		hostports.Open(table, free)
	}
	return problems
}

// addressesOfServices leaves out what another interface holds, too: a service's
// external IP must not take the node's address from all host ports.
func addressesOfServices(interfaces []kernel.Interface, services kernel.Interface) []netip.Addr {
	nodes := map[netip.Addr]bool{}
	for _, i := range interfaces {
		for _, p := range i.Addresses {
			nodes[p.Addr()] = nodes[p.Addr()] || !isServiceLink(i.Name)
		}
	}
	var addresses []netip.Addr
	for _, p := range services.Addresses {
		if a := p.Addr(); !a.IsLinkLocalUnicast() && !nodes[a] {
			addresses = append(addresses, a)
		}
	}
	return addresses
}
