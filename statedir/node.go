package statedir

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"

	"github.com/ropeway-net/ropeway/jsonobject"
)

// Node is node.json: what the daemon tells the plugin about this node, so that
// pods start and stop while the daemon is dead.
type Node struct {
	BootID   string         `json:"bootID"`   // boot in which the daemon wrote it
	Name     string         `json:"name"`     // this node
	Mode     string         `json:"mode"`     // for messages, and for STATUS to know whether there is a tunnel
	PodCIDRs []netip.Prefix `json:"podCIDRs"` // at most one of each family
	MTU      int            `json:"mtu"`      // bytes, of a pod's interface
	// Sources are the preferred source addresses of the node towards its own
	// pods, at most one of each family.
	Sources []netip.Addr `json:"sources"`
}

// mostNodeBytes bounds what is read of node.json, which has some hundred.
const mostNodeBytes = 64 << 10

// ErrNoNode means that the daemon has not written node.json, or not in this
// boot.
var ErrNoNode = errors.New("the daemon has not prepared this node yet")

// ReadNode reads node.json. An error for a missing file wraps [ErrNoNode].
func (d Dir) ReadNode() (Node, error) {
	b, err := ReadFile(d.NodeFile(), mostNodeBytes)
	if errors.Is(err, fs.ErrNotExist) {
		return Node{}, fmt.Errorf("%s does not exist: %w; is ropewayd running? see: ropewayctl status", d.NodeFile(), ErrNoNode)
	}
	if err != nil {
		return Node{}, fmt.Errorf("read node facts: %w", err)
	}
	n, err := ParseNode(b)
	if err != nil {
		return Node{}, fmt.Errorf("%s: %w; restart ropewayd to have it written again", d.NodeFile(), err)
	}
	return n, nil
}

// ReadNodeOf reads node.json and refuses what the daemon wrote in another boot,
// with an error that wraps [ErrNoNode]: the node may have other pod CIDRs now,
// and its kernel is not prepared.
func (d Dir) ReadNodeOf(bootID string) (Node, error) {
	n, err := d.ReadNode()
	if err == nil && n.BootID != bootID {
		return Node{}, fmt.Errorf("%s is of an earlier boot: %w; is ropewayd running? see: ropewayctl status", d.NodeFile(), ErrNoNode)
	}
	return n, err
}

// ParseNode reads and checks the content of node.json.
func ParseNode(b []byte) (Node, error) {
	var n Node
	var podCIDRs, sources []string
	err := jsonobject.Decode(b, []jsonobject.Field{
		{Name: "bootID", Into: &n.BootID}, {Name: "name", Into: &n.Name}, {Name: "mode", Into: &n.Mode},
		{Name: "podCIDRs", Into: &podCIDRs}, {Name: "mtu", Into: &n.MTU}, {Name: "sources", Into: &sources},
	}...)
	for _, text := range podCIDRs {
		p, parseErr := netip.ParsePrefix(text)
		n.PodCIDRs, err = append(n.PodCIDRs, p), errors.Join(err, parseErr)
	}
	for _, text := range sources {
		a, parseErr := netip.ParseAddr(text)
		n.Sources, err = append(n.Sources, a), errors.Join(err, parseErr)
	}
	if err != nil {
		return Node{}, fmt.Errorf("not valid: %w", err)
	}
	if n.BootID == "" || len(n.PodCIDRs) == 0 {
		return Node{}, errors.New("not valid: bootID and podCIDRs are required")
	}
	seen := map[bool]bool{}
	for _, p := range n.PodCIDRs {
		if !p.IsValid() || p != p.Masked() || p.Addr().Is4In6() || seen[p.Addr().Is4()] {
			return Node{}, fmt.Errorf("not valid: podCIDRs %v must hold at most one masked prefix of each family", n.PodCIDRs)
		}
		seen[p.Addr().Is4()] = true
	}
	for _, a := range n.Sources {
		if !a.IsValid() || a.Is4In6() || a.Zone() != "" {
			return Node{}, fmt.Errorf("not valid: source %q is no address", a)
		}
	}
	if n.MTU < 576 || n.MTU > 65535 {
		return Node{}, fmt.Errorf("not valid: mtu %d is not between 576 and 65535", n.MTU)
	}
	return n, nil
}

// WriteNode replaces node.json.
func (d Dir) WriteNode(n Node) error {
	b, err := json.MarshalIndent(n, "", "  ")
	if err != nil {
		return fmt.Errorf("encode node facts: %w", err)
	}
	return WriteFile(d.NodeFile(), append(b, '\n'))
}
