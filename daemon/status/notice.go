package status

// Notice is something that the cluster's operator should see. It is about a
// node, and few enough of them are given that each calls for a look.
type Notice struct {
	Warning bool
	Reason  string // one of the Reason constants: a machine may act on it
	Message string // for people: object, cause and remedy
	Node    string // about which node; empty: this one
	// Counts says how often what happened, by kind; nil where that makes no
	// sense. Those of notices that are told as one are added up.
	Counts map[string]int
}

// Reasons of notices.
const (
	RouteRepaired           = "RouteRepaired"           // somebody else changed what Ropeway owns
	PodCIDRMissing          = "PodCIDRMissing"          // the node cannot have pods
	PodCIDRConflict         = "PodCIDRConflict"         // two nodes claim the same addresses
	PoolNearlyFull          = "PoolNearlyFull"          // few pod addresses are left
	ForeignFirewallDrops    = "ForeignFirewallDrops"    // another firewall drops pods' packets
	ForeignCNIConfig        = "ForeignCNIConfig"        // another network's configuration comes first
	PeerUnreachable         = "PeerUnreachable"         // a node does not answer
	PeerReachable           = "PeerReachable"           // it does again
	ChecksumOffloadDisabled = "ChecksumOffloadDisabled" // the NIC would break tunnel packets
	ConfigRejected          = "ConfigRejected"          // the running configuration stays
)
