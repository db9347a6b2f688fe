package main

import (
	"fmt"
	"math"
	"net/netip"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/ropeway-net/ropeway/hostports"
	"github.com/ropeway-net/ropeway/kernel"
)

// maxPortMappings bounds the list; no pod has that many ports by intent.
const maxPortMappings = 1000

// portMapping is an entry of the capability portMappings as it comes.
type portMapping struct {
	HostPort      int    `json:"hostPort"`
	ContainerPort int    `json:"containerPort"`
	Protocol      string `json:"protocol"`
	HostIP        string `json:"hostIP"`
}

// parsePortMappings checks the capability portMappings. Runtimes pass ports of
// the pod that are on no port of the node with hostPort 0; these are left out.
func parsePortMappings(entries []portMapping) ([]hostports.Port, error) {
	const key = "runtimeConfig.portMappings"
	if len(entries) > maxPortMappings {
		return nil, failf(types.ErrInvalidNetworkConfig, "%s: %d entries; at most %d are possible", key, len(entries), maxPortMappings)
	}
	var ports []hostports.Port
	var indexes []int // of entries, for messages
	for i, e := range entries {
		if e.HostPort == 0 {
			continue
		}
		p, err := e.parse()
		if err != nil {
			return nil, failf(types.ErrInvalidNetworkConfig, "%s[%d].%w", key, i, err)
		}
		ports, indexes = append(ports, p), append(indexes, i)
	}
	if first, second, found := hostports.Duplicate(ports); found {
		return nil, failf(types.ErrInvalidNetworkConfig, "%s[%d]: host port %s is in [%d] already; give each once", key, indexes[second], ports[second], indexes[first])
	}
	return ports, nil
}

// parse names the key in its errors.
func (e portMapping) parse() (hostports.Port, error) {
	if e.HostPort < 0 || e.HostPort > math.MaxUint16 {
		return hostports.Port{}, fmt.Errorf("hostPort: %d is no port; use 1 to 65535", e.HostPort)
	}
	if e.ContainerPort < 1 || e.ContainerPort > math.MaxUint16 {
		return hostports.Port{}, fmt.Errorf("containerPort: %d is no port; use 1 to 65535", e.ContainerPort)
	}
	p := hostports.Port{HostPort: uint16(e.HostPort), ContainerPort: uint16(e.ContainerPort)}
	var err error
	if p.Protocol, err = kernel.ParseProtocol(e.Protocol); err != nil {
		return hostports.Port{}, fmt.Errorf("protocol: %w", err)
	}
	if e.HostIP != "" {
		if p.HostIP, err = netip.ParseAddr(e.HostIP); err != nil {
			return hostports.Port{}, fmt.Errorf("hostIP: %q is no address; give one of the node's, or none for all", e.HostIP)
		}
	}
	if err := p.Validate(); err != nil {
		return hostports.Port{}, fmt.Errorf("hostIP: %w", err)
	}
	return p, nil
}
