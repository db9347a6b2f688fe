package kernel

import "strconv"

// Statement is one match or action of a [Rule]. The types below are all there
// are; each is comparable and prints as nft reads it, so that a rule is the
// same text in a test, in a log and in a shell.
type Statement interface {
	String() string
	statement() // closes the vocabulary
}

// Field says which address of a packet an [InSet] looks at.
type Field string

// The address fields.
const (
	Saddr Field = "saddr"
	Daddr Field = "daddr"
)

type (
	// FromPodLink matches packets that enter through the host end of a pod
	// link.
	FromPodLink struct{}

	// IPv4Packet matches IPv4. It is not needed in front of an [InSet] of
	// IPv4 addresses, which implies it.
	IPv4Packet struct{}

	// SpecifiedIPv6Source matches IPv6 packets from any address but ::, the
	// source of a node that is still finding out whether its address is
	// taken.
	SpecifiedIPv6Source struct{}

	// NoReturnPath matches packets whose source is not routed back through
	// the interface they came in by. Only a chain that knows the incoming
	// interface can hold it: prerouting or forward.
	NoReturnPath struct{}

	// LocalDestination matches packets to an address of this node.
	LocalDestination struct{}

	// UDPDestinationPort matches UDP packets to a port.
	UDPDestinationPort struct{ Port uint16 }

	// L4Proto matches the protocol above IP by number: 4 is IPv4 in IP, 41
	// is IPv6 in IP. nft accepts the number everywhere, and lists it by name
	// where /etc/protocols has one.
	L4Proto struct{ Number uint8 }

	// InSet matches packets whose address is (or, with Not, is not) in the
	// named set of addresses of type Type.
	InSet struct {
		Field Field
		Set   string
		Type  SetType
		Not   bool
	}

	// ToItself matches packets whose source and destination are a pair in the
	// named set of pairs of type Type.
	ToItself struct {
		Set  string
		Type SetType
	}

	// ToPodLink matches packets that leave through the host end of a pod link.
	ToPodLink struct{}

	// FromLoopback matches packets from 127.0.0.0/8.
	FromLoopback struct{}

	// ToLoopback matches packets to 127.0.0.0/8.
	ToLoopback struct{}

	// DNAT sends packets where the named map of type Type says; those that it
	// does not name go on to the next rule. It looks at the map's family only
	// where the map is by address: another match must have chosen it otherwise.
	DNAT struct {
		Map  string
		Type MapType
	}

	// Counter counts the packets that reach it. Its values are no part of a
	// Table.
	Counter struct{}

	// Drop ends the packet.
	Drop struct{}

	// Accept ends the chain.
	Accept struct{}

	// Notrack keeps the packet out of connection tracking.
	Notrack struct{}

	// MasqueradeRandom gives the packet the address of the outgoing interface
	// and a port chosen fully at random: two CPUs that both choose the next
	// free port lose one of two packets (Linux, since 3.14).
	MasqueradeRandom struct{}

	// Unrecognised stands for the rest of a rule that was read from the
	// kernel and says something that Ropeway never says. It is never desired.
	Unrecognised struct{ Text string }
)

func (FromPodLink) String() string         { return `iifname "` + PodLinkPrefix + `*"` }
func (IPv4Packet) String() string          { return "meta nfproto ipv4" }
func (SpecifiedIPv6Source) String() string { return "ip6 saddr != ::" }
func (NoReturnPath) String() string        { return "fib saddr . iif oif missing" }
func (LocalDestination) String() string    { return "fib daddr type local" }
func (s UDPDestinationPort) String() string {
	return "udp dport " + strconv.Itoa(int(s.Port))
}
func (s L4Proto) String() string        { return "meta l4proto " + strconv.Itoa(int(s.Number)) }
func (Counter) String() string          { return "counter" }
func (Drop) String() string             { return "drop" }
func (Accept) String() string           { return "accept" }
func (Notrack) String() string          { return "notrack" }
func (MasqueradeRandom) String() string { return "masquerade fully-random" }
func (s Unrecognised) String() string   { return "# unrecognised: " + s.Text }

func (ToPodLink) String() string    { return `oifname "` + PodLinkPrefix + `*"` }
func (FromLoopback) String() string { return "ip saddr 127.0.0.0/8" }
func (ToLoopback) String() string   { return "ip daddr 127.0.0.0/8" }

func (s InSet) String() string {
	not := ""
	if s.Not {
		not = "!= "
	}
	return header(s.Type) + " " + string(s.Field) + " " + not + "@" + s.Set
}

func (s ToItself) String() string {
	h := header(s.Type)
	return h + " saddr . " + h + " daddr @" + s.Set
}

func (s DNAT) String() string {
	h, key := header(s.Type.family()), "meta l4proto . th dport"
	if s.Type.byAddr() {
		key = h + " daddr . " + key
	}
	return "dnat " + h + " to " + key + " map @" + s.Map
}

// header is nft's name for the network header of a set's addresses.
func header(t SetType) string {
	if t.family() == IPv6Addr {
		return "ip6"
	}
	return "ip"
}

func (FromPodLink) statement()         {}
func (IPv4Packet) statement()          {}
func (SpecifiedIPv6Source) statement() {}
func (NoReturnPath) statement()        {}
func (LocalDestination) statement()    {}
func (UDPDestinationPort) statement()  {}
func (L4Proto) statement()             {}
func (InSet) statement()               {}
func (ToItself) statement()            {}
func (ToPodLink) statement()           {}
func (FromLoopback) statement()        {}
func (ToLoopback) statement()          {}
func (DNAT) statement()                {}
func (Counter) statement()             {}
func (Drop) statement()                {}
func (Accept) statement()              {}
func (Notrack) statement()             {}
func (MasqueradeRandom) statement()    {}
func (Unrecognised) statement()        {}
