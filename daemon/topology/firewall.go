package topology

import (
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/ropeway-net/ropeway/kernel"
)

// Obstacle is something on the host that stands in the way of pods, and what
// is done about it.
type Obstacle struct {
	Kind    ObstacleKind
	Message string // object, cause, and what was done or is to be done
	// Overcome says that Ropeway has dealt with it. One that it has not is a
	// Problem as well.
	Overcome bool
}

// ObstacleKind says what stands in the way.
type ObstacleKind string

// What may stand in the way.
const (
	FirewallDrops  ObstacleKind = "firewall drops"
	WrongChecksums ObstacleKind = "wrong checksums"
)

// addAdmissions lets pods' packets pass where other firewalls would drop them.
func addAdmissions(s *kernel.State, in Input, t tunnels) []Obstacle {
	s.Admissions = map[kernel.Admission]kernel.AdmissionPlace{}
	var out []Obstacle
	for _, f := range in.Firewalls {
		switch {
		case f.Hook == kernel.Input:
			if packet, blocked := blockedTunnel(f, in, t); blocked {
				out = append(out, Obstacle{Kind: FirewallDrops, Message: inputMessage(f, packet)})
			}
		case !concernsPods(f.Chain.Family, in):
		case f.Legacy, f.Owned:
			out = append(out, Obstacle{Kind: FirewallDrops, Message: forwardMessage(f)})
		default:
			for _, side := range []kernel.PodSide{kernel.FromPods, kernel.ToPods} {
				s.Admissions[kernel.Admission{Chain: f.Chain, Packets: side}] = kernel.AdmissionPlace{Before: f.Before}
			}
			out = append(out, Obstacle{Kind: FirewallDrops, Overcome: true, Message: fmt.Sprintf(
				"%s drops what no rule of it accepts; two rules now accept packets from and to pods there, see: nft list chain %s", nameOf(f), f.Chain)})
		}
	}
	return out
}

// concernsPods says whether the node has pods of a table's family.
func concernsPods(f kernel.TableFamily, in Input) bool {
	if f == kernel.FamilyInet {
		return len(in.Self.PodCIDRs) > 0
	}
	_, ok := prefixOfFamily(in.Self.PodCIDRs, map[kernel.TableFamily]family{kernel.FamilyIPv4: ipv4, kernel.FamilyIPv6: ipv6}[f])
	return ok
}

// nameOf names a chain, and whose it is.
func nameOf(f kernel.Firewall) string {
	owner := f.Program
	if f.Legacy {
		owner = "iptables-legacy"
	}
	if owner == "" {
		return "chain " + f.Chain.String()
	}
	return fmt.Sprintf("chain %s of %s", f.Chain, owner)
}

// forwardMessage says what an operator has to run where Ropeway cannot.
func forwardMessage(f kernel.Firewall) string {
	const cause = "%s drops packets from and to pods and cannot be changed by Ropeway, because %s; run on the node: %s"
	link := kernel.PodLinkPrefix + "+"
	if f.Legacy {
		tool := legacyTool(f.Chain.Family)
		return fmt.Sprintf(cause, nameOf(f), "nftables does not show it",
			fmt.Sprintf("%[1]s -A FORWARD -i %[2]s -j ACCEPT; %[1]s -A FORWARD -o %[2]s -j ACCEPT", tool, link))
	}
	remedy := "the program that owns the table, and let it accept what is forwarded from and to interfaces " + kernel.PodLinkPrefix + "*"
	if f.Program == "firewalld" {
		remedy = "echo NftablesTableOwner=no >>/etc/firewalld/firewalld.conf && systemctl restart firewalld (then Ropeway admits pods by itself)"
	}
	return fmt.Sprintf(cause, nameOf(f), "the table belongs to another program", remedy)
}

func legacyTool(f kernel.TableFamily) string {
	if f == kernel.FamilyIPv6 {
		return "ip6tables-legacy"
	}
	return "iptables-legacy"
}

// tunnelPacket is what the outer packets of a tunnel are.
type tunnelPacket struct {
	protocol uint8
	port     uint16 // 0: the protocol has none
}

func (p tunnelPacket) String() string {
	if p.port != 0 {
		return "UDP port " + strconv.Itoa(int(p.port))
	}
	return "protocol " + strconv.Itoa(int(p.protocol))
}

// blockedTunnel says whether a chain certainly drops what peers send through
// the node's tunnels.
func blockedTunnel(f kernel.Firewall, in Input, t tunnels) (tunnelPacket, bool) {
	local := t.local()
	if !local.IsValid() || len(in.Peers) == 0 || f.Chain.Family == kernel.FamilyIPv4 && local.Is6() || f.Chain.Family == kernel.FamilyIPv6 && local.Is4() {
		return tunnelPacket{}, false
	}
	for _, match := range tunnelPackets(in.Config, t) {
		var p tunnelPacket
		switch m := match.(type) {
		case kernel.UDPDestinationPort:
			p = tunnelPacket{17, m.Port}
		case kernel.L4Proto:
			p = tunnelPacket{protocol: m.Number}
		}
		if !f.Admits(p.protocol, p.port) {
			return p, true
		}
	}
	return tunnelPacket{}, false
}

func inputMessage(f kernel.Firewall, p tunnelPacket) string {
	accept := "-p " + strconv.Itoa(int(p.protocol))
	if p.port != 0 {
		accept = "-p udp --dport " + strconv.Itoa(int(p.port))
	}
	var remedy string
	switch {
	case f.Program == "ufw" && p.port != 0:
		remedy = fmt.Sprintf("ufw allow %d/udp", p.port)
	case f.Program == "firewalld" && p.port != 0:
		remedy = fmt.Sprintf("firewall-cmd --permanent --add-port=%d/udp && firewall-cmd --reload", p.port)
	case f.Program == "firewalld":
		remedy = fmt.Sprintf("firewall-cmd --permanent --add-protocol=%d && firewall-cmd --reload", p.protocol)
	case f.Legacy:
		remedy = legacyTool(f.Chain.Family) + " -I INPUT " + accept + " -j ACCEPT"
	case f.Chain.Table == "filter" && f.Chain.Chain == "INPUT" && f.Chain.Family == kernel.FamilyIPv6:
		remedy = "ip6tables -I INPUT " + accept + " -j ACCEPT"
	case f.Chain.Table == "filter" && f.Chain.Chain == "INPUT":
		remedy = "iptables -I INPUT " + accept + " -j ACCEPT"
	case p.port != 0:
		remedy = fmt.Sprintf("nft insert rule %s udp dport %d accept", f.Chain, p.port)
	default:
		remedy = fmt.Sprintf("nft insert rule %s meta l4proto %d accept", f.Chain, p.protocol)
	}
	return fmt.Sprintf("%s drops what other nodes' tunnels send here (%s), so their pods cannot reach this node's; run on the node, and where the firewall keeps its rules: %s (Ropeway itself drops such packets from addresses that are no node)",
		nameOf(f), p, remedy)
}

// unsolved are the obstacles that are still there.
func unsolved(obstacles []Obstacle) []error {
	left := slices.DeleteFunc(slices.Clone(obstacles), func(o Obstacle) bool { return o.Overcome })
	var errs []error
	for _, o := range left {
		errs = append(errs, errors.New(o.Message))
	}
	return errs
}
