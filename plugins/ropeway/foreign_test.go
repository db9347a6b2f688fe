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

func TestNodeWithoutAnAddressReachesThePodOfAnotherIPAMPlugin(t *testing.T) {
	n, pod := newNode(t), newNetns(t)
	n.fakeIPAM("fake", succeed)
	conf := n.conf("mtu", 1400, "podCIDRs", nil, "ipam", map[string]any{"type": "fake"})
	r := n.add(call{id: "a", netns: pod, conf: conf})
	command(t, n.netns, "ping", "-c", "1", "-W", "2", "10.77.0.5")
	n.must(call{verb: "CHECK", id: "a", netns: pod, conf: withPrevResult(t, conf, r)})
	// A node that has one keeps speaking from it.
	ip(t, n.netns, "address", "add", "192.0.2.1/32", "dev", "lo")
	n.must(call{verb: "DEL", id: "a", netns: pod, conf: conf})
	n.add(call{id: "a", netns: pod, conf: conf})
	if sources := n.record("a").Sources; len(sources) > 0 {
		t.Errorf("sources %v", sources)
	}
}
