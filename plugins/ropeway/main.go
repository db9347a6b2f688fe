// Command ropeway is the CNI plugin that attaches a pod to its node: one veth
// pair, addresses from a host-local allocator, routes both ways. It speaks CNI
// 0.3.0 to 1.1.0 and needs nobody: the daemon has written what it must know
// into node.json, or the network configuration says it.
//
// # Network configuration
//
//	{
//	  "cniVersion": "1.1.0", "name": "ropeway", "type": "ropeway",
//	  "ipam":     {"type": "ropeway-ipam"},       in process; any other IPAM plugin is executed
//	  "dns":      {"nameservers": ["10.0.0.10"]},
//	  "mtu":      1450,                           bytes; default: node.json's
//	  "podCIDRs": ["10.99.0.0/24", "fd99::/64"],  instead of node.json's; no daemon is needed then
//	  "stateDir": "/var/lib/cni/ropeway"
//	}
//
// With "capabilities": {"portMappings": true} the runtime passes host ports,
// which docs/hostports.md explains; with {"bandwidth": true} limits, see
// docs/bandwidth.md.
//
// A pod's only neighbour is its node. Of the IPAM's addresses the plugin takes
// the address and not the prefix length, of its routes the destination: they
// go through 169.254.1.1 or fe80::1 whatever gateway they name, and what else a
// route says (mtu, priority, table, scope) is not taken over. The IPAM plugin
// static compares prefix lengths on CHECK: give its addresses as /32 and /128.
//
// # Debugging
//
// What is attached is one file each in <stateDir>/endpoints; what was done,
// how long it took and why it failed is in <stateDir>/log/ropeway.log. The
// codes of errors are in docs/errors.md.
//
//go:debug containermaxprocs=0
//go:debug updatemaxprocs=0
package main

import (
	"os"

	"github.com/ropeway-net/ropeway/plugins/protocol"
)

func main() {
	p := plugin{stdout: os.Stdout}
	protocol.Main(p.funcs(), "CNI plugin ropeway: attaches a pod to its node")
}
