// Package probe finds out whether the peers can be reached: an echo request
// now and then to an address that the peer's own tunnel device holds, and once
// that is lost one to the peer's address on the underlay, which tells a tunnel
// that something blocks from a node that is down.
//
// The work does not grow with the cluster: there is one bound on all requests
// together, and a peer is asked less often where there are many.
//
// # Debugging
//
// `ropewayctl status` names the peers that do not answer. The same question by
// hand is ping to the first address of the peer's pod CIDR, and to its address.
package probe
