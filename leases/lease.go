package leases

import (
	"net/netip"
	"time"

	"github.com/ropeway-net/ropeway/endpoint"
	"github.com/ropeway-net/ropeway/ipam"
)

// Use tells whether an address is in use.
type Use string

// What an address can be.
const (
	InUse     Use = "yes"       // something on this machine holds it
	Attaching Use = "attaching" // an ADD is under way
	Unsure    Use = "unsure"    // nothing holds it, and yet it may be meant to be held
	Unused    Use = "no"        // certainly not: it can be freed
)

// Lease is one address that a network has given out.
type Lease struct {
	Network     string       `json:"network"`
	Address     netip.Addr   `json:"address"`
	ContainerID string       `json:"containerID,omitempty"`
	IfName      string       `json:"ifName,omitempty"` // empty: written by an old host-local
	Pod         endpoint.Pod `json:"pod,omitzero"`
	Since       time.Time    `json:"since"`
	Use         Use          `json:"use"`
	Reason      string       `json:"reason"` // of Use
	HostLink    string       `json:"hostLink,omitempty"`
	Netns       string       `json:"netns,omitempty"` // as given on ADD
	BootID      string       `json:"bootID,omitempty"`
	Recorded    bool         `json:"recorded"` // there is an endpoint record

	dir    string // of the network
	entry  ipam.Entry
	record *endpoint.Record
}

// Range is how much of a range set is given out.
type Range struct {
	Range string `json:"range"`
	Used  uint64 `json:"used"`
	// Total counts the addresses that pods can have; 0 for 2^64 and more.
	Total uint64 `json:"total,omitempty"`
}

// Network is one network's directory.
type Network struct {
	Name string `json:"name"`
	Dir  string `json:"dir"`
	// Ours says that Ropeway's allocator has written to the directory. Others
	// are host-local's, and only looked at.
	Ours   bool    `json:"ours"`
	BootID string  `json:"bootID,omitempty"`
	Ranges []Range `json:"ranges,omitempty"` // none when no configuration names them
	Leases []Lease `json:"leases"`
}

// Problem is an inconsistency.
type Problem struct {
	Kind    Kind       `json:"kind"`
	Network string     `json:"network,omitempty"`
	Address netip.Addr `json:"address,omitzero"`
	Text    string     `json:"text"`
	Remedy  string     `json:"remedy"`
}

// Kind is what sort of inconsistency there is.
type Kind string

// The sorts.
const (
	Leaked        Kind = "leaked"         // a reservation that nobody uses
	Unreserved    Kind = "unreserved"     // a record whose address is not reserved
	Damaged       Kind = "damaged"        // a file that names no container
	Duplicate     Kind = "duplicate"      // an address that two hold
	OutOfRange    Kind = "out-of-range"   // an address outside the network's ranges
	EarlierBoot   Kind = "earlier-boot"   // a reservation of an earlier boot
	LinkGone      Kind = "link-gone"      // a record without its link
	LinkDiffers   Kind = "link-differs"   // a link with other addresses
	LinkUnknown   Kind = "link-unknown"   // a pod link without record
	RecordDamaged Kind = "record-damaged" // an endpoint record that cannot be read
	Stray         Kind = "stray"          // a file that no allocator writes
)

// Report is what [Inspect] finds.
type Report struct {
	Networks []Network `json:"networks"`
	Problems []Problem `json:"problems"`
	// Notes say what could not be looked at.
	Notes []string `json:"notes,omitempty"`
}
