// Command ropeway is the CNI plugin that attaches a pod to its node: one veth
// pair, addresses from a host-local allocator, routes both ways. It speaks CNI
// 0.3.1 to 1.1.0 and needs nobody: the daemon has written what it must know
// into node.json, or the network configuration says it.
//
// # Network configuration
//
//	{
//	  "cniVersion": "1.1.0", "name": "ropeway", "type": "ropeway",
//	  "ipam":     {"type": "ropeway-ipam"},      in process; any other IPAM plugin is executed
//	  "dns":      {"nameservers": ["10.0.0.10"]},
//	  "mtu":      1450,                           bytes; default: node.json's
//	  "podCIDRs": ["10.99.0.0/24", "fd99::/64"],  instead of node.json's; no daemon is needed then
//	  "stateDir": "/var/lib/cni/ropeway"
//	}
//
// # Debugging
//
// What is attached is one file each in <stateDir>/endpoints; what was done,
// how long it took and why it failed is in <stateDir>/log/ropeway.log. The
// codes of errors are in errors.go.
package main

import (
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/version"
)

func main() {
	// A runtime that went away must not kill the undoing of an ADD.
	signal.Ignore(syscall.SIGPIPE)
	prepareEnvironment()
	p := plugin{stdout: os.Stdout}
	skel.PluginMainFuncs(p.funcs(), version.PluginSupports("0.3.1", "0.4.0", "1.0.0", "1.1.0"),
		"CNI plugin ropeway: attaches a pod to its node")
}

// prepareEnvironment evens out where skel is stricter or later than the
// specification: CNI_PATH is optional there, and a namespace that is the
// plugin's own is refused by us before anything is done, not afterwards.
func prepareEnvironment() {
	if os.Getenv("CNI_PATH") == "" {
		_ = os.Setenv("CNI_PATH", filepath.Dir(os.Args[0]))
	}
	_ = os.Setenv("CNI_NETNS_OVERRIDE", "1")
}
