package probe

import (
	"fmt"
	"net/netip"

	"github.com/ropeway-net/ropeway/daemon/topology"
)

// Target is a peer and one way to it.
type Target struct {
	Peer string
	Via  topology.Via
	// Address answers when the way is open: held by the peer's tunnel device,
	// or the peer's own where there is no tunnel.
	Address netip.Addr
	Node    netip.Addr // the peer's own address
}

// Targets are the peers to probe: each once for each way that leads to it.
// Both families of pods may go the same way.
func Targets(paths []topology.Path) []Target {
	type way struct {
		peer string
		via  topology.Via
	}
	seen := map[way]bool{}
	var out []Target
	for _, p := range paths {
		w := way{p.Peer, p.Via}
		if p.Via == topology.ViaRefused || !p.NextHop.IsValid() || seen[w] {
			continue
		}
		t := Target{Peer: p.Peer, Via: p.Via, Address: p.NextHop, Node: p.NextHop}
		if p.Via != topology.ViaDirect {
			inTunnel, ok := topology.TunnelAddress(p.PodCIDR)
			if !ok {
				continue
			}
			t.Address = inTunnel
		}
		seen[w] = true
		out = append(out, t)
	}
	return out
}

// tunnelled says that the way is a tunnel, so that the node may answer though
// the tunnel does not.
func (t Target) tunnelled() bool { return t.Address != t.Node }

// reason says what was found and what to look at.
func (t Target) reason(nodeAnswers bool, port uint16, cause error) string {
	why := ""
	if cause != nil {
		why = fmt.Sprintf(" (%v)", cause)
	}
	switch {
	case nodeAnswers:
		return fmt.Sprintf("it answers at %s, but %s inside the tunnel does not%s; does ropewayd run there, and do firewalls between the nodes let %s through both ways?", t.Node, t.Address, why, carrier(t.Via, port))
	case t.tunnelled():
		return fmt.Sprintf("neither %s inside the tunnel nor %s answers%s; it is down or cut off, or ICMP is dropped as well", t.Address, t.Node, why)
	default:
		return fmt.Sprintf("%s does not answer%s; it is down or cut off, or ICMP is dropped", t.Node, why)
	}
}

// carrier names what firewalls must let through.
func carrier(via topology.Via, port uint16) string {
	switch via {
	case topology.ViaVXLAN:
		return fmt.Sprintf("UDP port %d", port)
	case topology.ViaIPIP:
		return "IP protocol 4 (IPIP)"
	case topology.ViaSIT:
		return "IP protocol 41 (IPv6 in IPv4)"
	default:
		return "IP protocols 4 and 41 (in IPv6)"
	}
}
