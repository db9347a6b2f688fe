package status

import (
	"net/netip"
	"time"

	"github.com/ropeway-net/ropeway/daemon/topology"
)

// Reachability is what probing the peers has found.
type Reachability struct {
	Probed int `json:"probed"` // peers that are probed
	Silent int `json:"silent"` // of these, the unreachable ones
	// TunnelsOnly are those of the silent ones that answer outside the tunnel.
	TunnelsOnly int `json:"tunnelsOnly"`
	// Unreachable are the silent ones by name, but not thousands of them.
	Unreachable []Unreachable `json:"unreachable,omitempty"`
	// Obstacle says why some or all peers cannot be probed.
	Obstacle string `json:"obstacle,omitempty"`
}

// Unreachable is a peer that does not answer.
type Unreachable struct {
	Peer        string       `json:"peer"`
	Via         topology.Via `json:"via"`
	Address     netip.Addr   `json:"address"` // that was asked
	Since       time.Time    `json:"since"`
	NodeAnswers bool         `json:"nodeAnswers"` // outside the tunnel
	Reason      string       `json:"reason"`
}
