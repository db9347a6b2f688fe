package main

import (
	"errors"

	"github.com/containernetworking/cni/pkg/types"

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
		return node, nil
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
	return node, nil
}

// standalone says that the configuration alone suffices: it names the pod
// CIDRs, or another IPAM plugin knows the addresses and only the MTU is needed.
func (c conf) standalone() bool {
	return len(c.PodCIDRs) > 0 || c.IPAMType != inProcess && c.MTU != 0
}
