package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/ropeway-net/ropeway/bandwidth"
	"github.com/ropeway-net/ropeway/hostports"
	"github.com/ropeway-net/ropeway/jsonobject"
	"github.com/ropeway-net/ropeway/kernel"
	"github.com/ropeway-net/ropeway/statedir"
)

const (
	// inProcess is the IPAM type that is called without executing a plugin.
	inProcess = "ropeway-ipam"

	minMTU     = 68   // RFC 791; below it the kernel gives a link no IPv4
	minMTUIPv6 = 1280 // RFC 8200; below it the kernel gives a link no IPv6
	maxMTU     = 65535
	defaultMTU = 1500 // with podCIDRs and without a daemon nobody knows better
)

// conf is the network configuration, checked.
type conf struct {
	Name       string
	CNIVersion string
	StateDir   statedir.Dir
	MTU        int            // bytes; 0: node.json's
	PodCIDRs   []netip.Prefix // empty: node.json's
	DNS        types.DNS
	IPAMType   string
	MAC        kernel.MAC // zero: not asked for
	HostPorts  []hostports.Port
	// Asked are the runtime's wishes that the record keeps.
	Asked      asked
	Bandwidth  bandwidth.Limits
	PrevResult json.RawMessage
	raw        []byte
}

// document is the network configuration as it comes. Keys match in any letter
// case, on which containerd relies: it capitalises those of runtimeConfig.
type document struct {
	CNIVersion, Name, StateDir, IPAMType string
	MTU                                  int
	PodCIDRs                             []string
	DNS, RuntimeConfig, Args, PrevResult json.RawMessage
}

// wishes are what the runtime asks for at this call.
type wishes struct {
	MAC          string        `json:"mac"`
	PortMappings []portMapping `json:"portMappings"`
	asked
	Bandwidth bandwidthEntry `json:"bandwidth"`
}

// knownKeys are ours, the specification's, and what runtimes add. Some are
// accepted because configurations written for ptp or bridge have them, and have
// no effect: masquerading (ipMasq) is the node's affair, which the daemon sees
// to once and not for each pod; there is no bridge to name; the node is every
// pod's gateway (isGateway, isDefaultGateway).
func knownKeys() []string {
	return []string{
		"cniVersion", "name", "type", "ipam", "dns", "ipMasq", "bridge", "isGateway", "isDefaultGateway", "stateDir", "mtu", "podCIDRs",
		"capabilities", "args", "runtimeConfig", "prevResult",
	}
}

// parseConf reads a network configuration strictly: a misspelt key would
// silently mean its default.
func parseConf(stdin []byte, cniArgs string) (conf, error) {
	var doc document
	if err := decode(stdin, &doc); err != nil {
		return conf{}, err
	}
	if err := checkKeys(stdin); err != nil {
		return conf{}, err
	}
	c := conf{
		Name: doc.Name, CNIVersion: doc.CNIVersion, MTU: doc.MTU,
		StateDir: doc.stateDir(), IPAMType: doc.IPAMType, PrevResult: doc.PrevResult, raw: stdin,
	}
	if err := decodeSection("dns", doc.DNS, &c.DNS); err != nil {
		return conf{}, err
	}
	var err error
	if c.PodCIDRs, err = parsePodCIDRs(doc.PodCIDRs); err != nil {
		return conf{}, err
	}
	if err := c.takeWishes(doc, cniArgs); err != nil {
		return conf{}, err
	}
	return c, c.validate()
}

// takeWishes takes over what the runtime asks for.
func (c *conf) takeWishes(doc document, cniArgs string) error {
	var w wishes
	var args struct {
		CNI struct {
			MAC string `json:"mac"`
		} `json:"cni"`
	}
	err := decodeSection("runtimeConfig", doc.RuntimeConfig, &w)
	if err == nil {
		err = decodeSection("args", doc.Args, &args)
	}
	if err != nil {
		return err
	}
	if c.MAC, err = requestedMAC(w.MAC, args.CNI.MAC, cniArgs); err != nil {
		return err
	}
	if c.HostPorts, err = parsePortMappings(w.PortMappings); err != nil {
		return err
	}
	c.Asked = w.asked
	if err = c.Asked.validate(); err != nil {
		return err
	}
	c.Bandwidth, err = parseBandwidth(w.Bandwidth)
	return err
}

// parseLenient reads what DEL and GC need for cleaning up, whatever else the
// configuration says by now.
func parseLenient(stdin []byte) (conf, error) {
	var doc document
	err := decode(stdin, &doc)
	var wrongType *jsonobject.TypeError
	if err != nil && !errors.As(err, &wrongType) {
		return conf{}, err
	}
	c := conf{
		Name: doc.Name, CNIVersion: doc.CNIVersion, StateDir: doc.stateDir(),
		IPAMType: doc.IPAMType, raw: stdin,
	}
	if c.IPAMType == "" {
		c.IPAMType = inProcess
	}
	if !filepath.IsAbs(string(c.StateDir)) {
		c.StateDir = statedir.DefaultDir
	}
	return c, nil
}

func (d document) stateDir() statedir.Dir {
	if d.StateDir == "" {
		return statedir.DefaultDir
	}
	return statedir.Dir(d.StateDir)
}

func (c conf) validate() error {
	switch {
	case c.IPAMType == "":
		return failf(types.ErrInvalidNetworkConfig, `configuration of network %s has no ipam.type; write "ipam": {"type": %q}`, c.Name, inProcess)
	case !filepath.IsAbs(string(c.StateDir)):
		return failf(types.ErrInvalidNetworkConfig, "stateDir %q depends on the directory the runtime runs in; write it from /", c.StateDir)
	case c.MTU != 0 && (c.MTU < minMTU || c.MTU > maxMTU):
		return failf(types.ErrInvalidNetworkConfig, "mtu %d is not between %d and %d; leave it out to have the node's", c.MTU, minMTU, maxMTU)
	}
	return nil
}

func decode(stdin []byte, doc *document) error {
	var allocator json.RawMessage
	err := jsonobject.Decode(stdin, []jsonobject.Field{
		{Name: "cniVersion", Into: &doc.CNIVersion}, {Name: "name", Into: &doc.Name}, {Name: "stateDir", Into: &doc.StateDir},
		{Name: "mtu", Into: &doc.MTU}, {Name: "podCIDRs", Into: &doc.PodCIDRs}, {Name: "dns", Into: &doc.DNS}, {Name: "ipam", Into: &allocator},
		{Name: "runtimeConfig", Into: &doc.RuntimeConfig}, {Name: "args", Into: &doc.Args}, {Name: "prevResult", Into: &doc.PrevResult},
	}...)
	if err != nil {
		err = decodeError("", err)
	}
	if len(allocator) > 0 {
		if typeErr := jsonobject.Decode(allocator, jsonobject.Field{Name: "type", Into: &doc.IPAMType}); typeErr != nil && err == nil {
			err = decodeError("ipam", typeErr)
		}
	}
	return err
}

// decodeError says where in the configuration something cannot be read.
func decodeError(section string, err error) error {
	var wrongType *jsonobject.TypeError
	if errors.As(err, &wrongType) {
		return failf(types.ErrDecodingFailure, "network configuration: %w; correct it", wrongType.In(section))
	}
	return failf(types.ErrDecodingFailure, "network configuration is not valid JSON: %w; check it with: python3 -m json.tool", err)
}

// decodeSection reads a part of a configuration that is valid JSON, if it is there.
func decodeSection(key string, text json.RawMessage, into any) error {
	if len(text) == 0 {
		return nil
	}
	err := json.Unmarshal(text, into)
	var wrongType *json.UnmarshalTypeError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &wrongType):
		return decodeError(key, jsonobject.FromStandard(wrongType))
	}
	return failf(types.ErrDecodingFailure, "network configuration: %s: %w; correct it", key, err)
}

func checkKeys(stdin []byte) error {
	names := knownKeys()
	return jsonobject.Each(stdin, func(key string, value []byte) error {
		known := slices.ContainsFunc(names, func(k string) bool { return strings.EqualFold(k, key) })
		if !known && !strings.HasPrefix(key, "cni.dev/") {
			return failf(types.ErrUnsupportedField, "unknown key %q with value %.200s in the network configuration; known are %s", key, value, strings.Join(names, ", "))
		}
		return nil
	})
}

func parsePodCIDRs(texts []string) ([]netip.Prefix, error) {
	var prefixes []netip.Prefix
	for _, text := range texts {
		p, err := netip.ParsePrefix(text)
		if err != nil || p.Addr().Is4In6() || p.Addr().IsLinkLocalUnicast() {
			return nil, failf(types.ErrInvalidNetworkConfig, "podCIDRs: %q is no prefix that pods can have; write one such as 10.99.0.0/24", text)
		}
		if p != p.Masked() {
			return nil, failf(types.ErrInvalidNetworkConfig, "podCIDRs: %s has host bits set; write %s", p, p.Masked())
		}
		if i := slices.IndexFunc(prefixes, func(o netip.Prefix) bool { return o.Addr().Is4() == p.Addr().Is4() }); i >= 0 {
			return nil, failf(types.ErrInvalidNetworkConfig, "podCIDRs: %s and %s are of the same family; give one of each, and more in ipam.ranges", prefixes[i], p)
		}
		prefixes = append(prefixes, p)
	}
	return prefixes, nil
}

// requestedMAC takes the first source that asks: the mac capability, args, and
// CNI_ARGS, which the specification has deprecated.
func requestedMAC(capability, argument, cniArgs string) (kernel.MAC, error) {
	pairs, err := parseArgs(cniArgs)
	if err != nil {
		return kernel.MAC{}, err
	}
	for _, source := range []struct {
		name, text string
		code       uint
	}{
		{"runtimeConfig.mac", capability, types.ErrInvalidNetworkConfig},
		{"args.cni.mac", argument, types.ErrInvalidNetworkConfig},
		{"CNI_ARGS: MAC", pairs["MAC"], types.ErrInvalidEnvironmentVariables},
	} {
		if source.text == "" {
			continue
		}
		mac, err := kernel.ParseMAC(source.text)
		if err == nil && mac == kernel.GatewayMAC() {
			err = fmt.Errorf("MAC address %s is the gateway's; ask for another", mac)
		}
		if err != nil {
			return kernel.MAC{}, failf(source.code, "%s: %w", source.name, err)
		}
		return mac, nil
	}
	return kernel.MAC{}, nil
}
