package main

import (
	"errors"
	"net"
	"net/netip"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/ropeway-net/ropeway/kernel"
	"github.com/ropeway-net/ropeway/statedir"
)

// nodeFacts are what the plugin must know about its node: from the
// configuration where it says so, else from the daemon's node.json. Code 11
// when the daemon has not prepared the node in this boot.
func (c conf) nodeFacts(bootID string) (statedir.Node, error) {
	if c.standalone() {
		node := statedir.Node{BootID: bootID, PodCIDRs: c.PodCIDRs, MTU: c.MTU}
		if node.MTU == 0 {
			node.MTU = defaultMTU
		}
		return c.withSource(node), nil
	}
	node, err := c.StateDir.ReadNodeOf(bootID)
	if errors.Is(err, statedir.ErrNoNode) {
		return statedir.Node{}, failf(types.ErrTryAgainLater, "%w; or set podCIDRs in the network configuration", err)
	}
	if err != nil {
		return statedir.Node{}, err
	}
	if c.MTU != 0 {
		node.MTU = c.MTU
	}
	return c.withSource(node), nil
}

// withSource gives a node that has no IPv4 address the gateway's to speak to
// its pods from; without one its packets would come from 0.0.0.0. Only with
// another IPAM plugin: our own pod CIDRs come from a daemon that sees to it, or
// stand in a configuration for a node that is somebody's already.
func (c conf) withSource(node statedir.Node) statedir.Node {
	if c.IPAMType == inProcess || len(node.Sources) > 0 {
		return node
	}
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return node // the kernel chooses, as it would have
	}
	for _, a := range addresses {
		if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Is4() && p.Addr().IsGlobalUnicast() {
			return node
		}
	}
	node.Sources = []netip.Addr{kernel.GatewayIPv4()}
	return node
}

// standalone says that the configuration alone suffices: it names the pod
// CIDRs, or another IPAM plugin knows the addresses and only the MTU is needed.
func (c conf) standalone() bool {
	return len(c.PodCIDRs) > 0 || c.IPAMType != inProcess && c.MTU != 0
}
