package cluster

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"sigs.k8s.io/yaml"
)

// nodesFile is the file's form. Its texts are parsed here and not by the YAML
// library, whose errors would not say whose address is wrong.
type nodesFile struct {
	Nodes []nodeEntry `json:"nodes"`
}

type nodeEntry struct {
	Name      string   `json:"name"`
	Addresses []string `json:"addresses"`
	PodCIDRs  []string `json:"podCIDRs"`
}

// Parse reads a list of nodes in YAML or JSON:
//
//	nodes:
//	- name: n1
//	  addresses: [192.168.1.11, "fd00:1::11"]
//	  podCIDRs: [10.244.1.0/24, "fd10:244:0:1::/64"]
//
// Unknown keys, values that cannot be and conflicts between nodes are errors
// that name the node. The result is sorted by name.
func Parse(b []byte) ([]Node, error) {
	var file nodesFile
	if err := yaml.UnmarshalStrict(b, &file); err != nil {
		return nil, fmt.Errorf("not a list of nodes: %w", err)
	}
	if len(file.Nodes) == 0 {
		return nil, errors.New("lists no nodes; expected a key nodes with a list of name, addresses, podCIDRs")
	}
	var errs []error
	nodes := make([]Node, 0, len(file.Nodes))
	for n, entry := range file.Nodes {
		node, err := entry.node()
		if err != nil {
			errs = append(errs, fmt.Errorf("node %s: %w", entry.label(n), err))
		}
		nodes = append(nodes, node)
	}
	if err := firstOf(errs); err != nil {
		return nil, err
	}
	slices.SortStableFunc(nodes, func(a, b Node) int { return cmp.Compare(a.Name, b.Name) })
	return nodes, Validate(nodes)
}

// label names an entry in an error also when it has no usable name.
func (e nodeEntry) label(index int) string {
	if e.Name == "" {
		return fmt.Sprintf("number %d of the list", index+1)
	}
	return fmt.Sprintf("%q", e.Name)
}

func (e nodeEntry) node() (Node, error) {
	n := Node{Name: e.Name}
	for _, text := range e.Addresses {
		a, err := parseAddress(text)
		if err != nil {
			return n, err
		}
		n.Addresses = append(n.Addresses, a)
	}
	for _, text := range e.PodCIDRs {
		p, err := parsePodCIDR(text)
		if err != nil {
			return n, err
		}
		n.PodCIDRs = append(n.PodCIDRs, p)
	}
	return n, n.validate()
}

func parseAddress(text string) (netip.Addr, error) {
	a, err := netip.ParseAddr(text)
	if err != nil {
		return a, fmt.Errorf("address %.100q is no IP address; write it without prefix length, for instance 192.168.1.11", text)
	}
	return a, nil
}

func parsePodCIDR(text string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(text)
	if err != nil {
		return p, fmt.Errorf("pod CIDR %.100q is no prefix; write address/length, for instance 10.244.1.0/24", text)
	}
	return p, nil
}

// firstOf joins errors, but not so many that nobody reads them.
func firstOf(errs []error) error {
	const most = 5
	if len(errs) > most {
		errs = append(errs[:most:most], fmt.Errorf("and %d more", len(errs)-most))
	}
	return errors.Join(errs...)
}
