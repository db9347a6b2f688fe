// Package endpoint keeps the record of each attached pod: written by the CNI
// plugin before it touches the kernel, removed after it has cleaned up, read
// by the daemon and by ropewayctl. A record is thus always a superset of what
// a pod holds in the kernel.
package endpoint

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/ropeway-net/ropeway/bandwidth"
	"github.com/ropeway-net/ropeway/hostports"
	"github.com/ropeway-net/ropeway/kernel"
	"github.com/ropeway-net/ropeway/statedir"
)

// Record is one attachment: a container's interface in one network.
type Record struct {
	BootID      string       `json:"bootID"` // boot in which it was attached
	ContainerID string       `json:"containerID"`
	IfName      string       `json:"ifName"`  // in the pod's namespace
	Network     string       `json:"network"` // name of the CNI network
	Netns       string       `json:"netns"`   // path given on ADD; may be gone
	Pod         Pod          `json:"pod"`     // zero outside Kubernetes
	HostLink    string       `json:"hostLink"`
	MAC         kernel.MAC   `json:"mac"` // of the pod's interface
	MTU         int          `json:"mtu"` // bytes
	Addresses   []netip.Addr `json:"addresses"`
	// Sources are preferred source addresses of the host routes, by family.
	Sources []netip.Addr `json:"sources,omitempty"`
	// HostPorts are ports of the node that lead to the pod.
	HostPorts []hostports.Port `json:"hostPorts,omitempty"`
	// DNS and Aliases are what the runtime asked for by the capabilities of
	// these names, for programs that answer names; nothing here uses them.
	DNS     *DNS     `json:"dns,omitempty"`
	Aliases []string `json:"aliases,omitempty"`
	// Bandwidth limits what the pod sends and receives.
	Bandwidth bandwidth.Limits `json:"bandwidth,omitzero"`
	// IPAM is how to give the addresses back, whatever the network
	// configuration says by then.
	IPAM    IPAM      `json:"ipam"`
	Created time.Time `json:"created"`
}

// Pod is what a Kubernetes runtime says about the container.
type Pod struct {
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name,omitempty"`
	UID       string `json:"uid,omitempty"`
	// InfraContainerID is the runtime's name for the pod's sandbox, as a rule
	// the container ID.
	InfraContainerID string `json:"infraContainerID,omitempty"`
}

// DNS is what a runtime says about a pod's resolver.
type DNS struct {
	Servers  []string `json:"servers,omitempty"`
	Searches []string `json:"searches,omitempty"`
	Options  []string `json:"options,omitempty"`
}

// IPAM names the allocator that holds the addresses.
type IPAM struct {
	Type    string `json:"type"`
	DataDir string `json:"dataDir,omitempty"` // ropeway-ipam: where its networks are
	// Config is the network configuration of ADD, for an exec'd plugin's DEL.
	Config json.RawMessage `json:"config,omitempty"`
}

// HostLink names the host end of the pod link of an attachment: a prefix and
// 48 bits of a digest, within the kernel's 15 bytes.
func HostLink(containerID, ifName string) string {
	sum := sha256.Sum256([]byte(containerID + "\x00" + ifName))
	return kernel.PodLinkPrefix + hex.EncodeToString(sum[:6])
}

// ParseRecord reads and checks a record; b may come from a damaged disk.
func ParseRecord(b []byte) (Record, error) {
	var r Record
	if err := r.parse(b); err != nil {
		return Record{}, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return r, r.validate()
}

func (r Record) validate() error {
	switch {
	case !statedir.IsName(r.ContainerID):
		return fmt.Errorf("%w: container ID %q", ErrDamaged, r.ContainerID)
	case !statedir.IsName(r.IfName) || len(r.IfName) > 15:
		return fmt.Errorf("%w: interface name %q", ErrDamaged, r.IfName)
	case r.HostLink != HostLink(r.ContainerID, r.IfName):
		return fmt.Errorf("%w: host link %q does not belong to container %s", ErrDamaged, r.HostLink, r.ContainerID)
	case r.BootID == "":
		return fmt.Errorf("%w: no boot ID", ErrDamaged)
	}
	for _, a := range slices.Concat(r.Addresses, r.Sources) {
		if !a.IsValid() || a.Zone() != "" || a.Is4In6() {
			return fmt.Errorf("%w: address %q", ErrDamaged, a)
		}
	}
	for _, p := range r.HostPorts {
		if err := p.Validate(); err != nil {
			return fmt.Errorf("%w: host port %s: %w", ErrDamaged, p, err)
		}
	}
	if err := r.Bandwidth.Validate(); err != nil {
		return fmt.Errorf("%w: bandwidth: %w", ErrDamaged, err)
	}
	return nil
}
