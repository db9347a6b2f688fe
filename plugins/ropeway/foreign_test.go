package main

import "testing"

func TestConfigurationsOfPtpAndBridgeAttach(t *testing.T) {
	n := newNode(t)
	for name, conf := range map[string]string{
		"ptp":    n.conf("cniVersion", "0.3.0", "ipMasq", true, "mtu", 512, "podCIDRs", []string{"10.99.0.0/24"}),
		"bridge": n.conf("cniVersion", "0.3.1", "bridge", "cni0", "isGateway", true, "isDefaultGateway", true, "podCIDRs", []string{"10.99.0.0/24"}),
	} {
		c := call{id: name, netns: newNetns(t), conf: conf}
		n.add(c)
		c.verb = "DEL"
		n.must(c)
	}
	n.wantNothingLeft()
}
