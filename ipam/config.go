package ipam

import (
	"encoding/json"
	"errors"
	"net/netip"
	"path/filepath"
	"slices"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/ropeway-net/ropeway/statedir"
)

// Config is what a network configuration says about addresses.
type Config struct {
	Network string // name of the network
	DataDir string // absolute; holds a directory for each network
	// StateDir is where node.json is, for plugins that run without the daemon's
	// own configuration.
	StateDir statedir.Dir
	// RangeSets give an attachment one address each; ranges overlap nowhere.
	RangeSets []RangeSet
	Routes    []Route
	DNS       types.DNS // from resolvConf
	// Requested are addresses to give instead of the next free ones: each is
	// in a range, at most one in each set.
	Requested []netip.Addr
	// TrustUnique says that the caller knows the attachment to hold nothing,
	// so that [Store.Allocate] need not read every reservation to find out.
	TrustUnique bool
}

// Dir is the network's directory, for [Open].
func (c Config) Dir() string { return filepath.Join(c.DataDir, c.Network) }

// document is the network configuration as far as addresses go.
type document struct {
	Name          string          `json:"name"`
	IPAM          json.RawMessage `json:"ipam"`
	RuntimeConfig json.RawMessage `json:"runtimeConfig"`
	Args          json.RawMessage `json:"args"`
}

// wishes are what the runtime asks for, in runtimeConfig and in args.
type wishes struct {
	IPs      []string            `json:"ips"`
	IPRanges [][]json.RawMessage `json:"ipRanges"`
	args     struct {
		CNI struct {
			IPs []string `json:"ips"`
		} `json:"cni"`
	}
}

func (d document) wishes() (wishes, error) {
	var w wishes
	if len(d.RuntimeConfig) > 0 {
		if err := decode(d.RuntimeConfig, &w, "runtimeConfig"); err != nil {
			return w, err
		}
	}
	if len(d.Args) > 0 {
		if err := decode(d.Args, &w.args, "args"); err != nil {
			return w, err
		}
	}
	return w, nil
}

// section is the ipam section.
type section struct {
	Type       string              `json:"type"`
	DataDir    string              `json:"dataDir"`
	StateDir   string              `json:"stateDir"`
	ResolvConf string              `json:"resolvConf"`
	Routes     []json.RawMessage   `json:"routes"`
	Ranges     [][]json.RawMessage `json:"ranges"`
	rangeSection
}

type rangeSection struct {
	Subnet     string `json:"subnet"`
	RangeStart string `json:"rangeStart"`
	RangeEnd   string `json:"rangeEnd"`
	Gateway    string `json:"gateway"`
}

func rangeKeys() []string { return []string{"subnet", "rangeStart", "rangeEnd", "gateway"} }

func sectionKeys() []string {
	return append([]string{"type", "dataDir", "stateDir", "resolvConf", "routes", "ranges"}, rangeKeys()...)
}

// ParseConfig reads the ipam section of a network configuration, what the
// runtime adds to it (runtimeConfig.ips and ipRanges, args.cni.ips) and IP from
// CNI_ARGS. Range sets come in host-local's order: ipRanges, subnet, ranges.
// Where none of these names a range, each of defaults (the node's pod CIDRs) is
// a range set; without defaults either the error is [ErrNoRange]. Addresses
// are asked for by runtimeConfig, else by args, else by CNI_ARGS.
//
// Errors are of class [ErrDecode], [ErrField], [ErrConfig], [ErrNoRange] or [ErrEnvironment].
func ParseConfig(netconf []byte, cniArgs string, defaults []netip.Prefix) (Config, error) {
	doc, sec, err := parseDocument(netconf)
	if err != nil {
		return Config{}, err
	}
	w, err := doc.wishes()
	if err != nil {
		return Config{}, err
	}
	c, err := location(doc, sec)
	if err != nil {
		return Config{}, err
	}
	if c.RangeSets, err = parseRangeSets(w, sec, defaults); err != nil {
		return Config{}, err
	}
	if c.Routes, err = parseRoutes(sec.Routes); err != nil {
		return Config{}, err
	}
	if c.Requested, err = requestedAddrs(w, cniArgs); err != nil {
		return Config{}, err
	}
	if err = checkRequested(c); err != nil {
		return Config{}, err
	}
	if sec.ResolvConf != "" {
		if c.DNS, err = readResolvConf(sec.ResolvConf); err != nil {
			return Config{}, err
		}
	}
	return c, nil
}

// ParseDir finds the network's directory, for verbs that must work whatever
// else the configuration says by now: it looks at name and dataDir alone.
func ParseDir(netconf []byte) (string, error) {
	var doc struct {
		Name string `json:"name"`
		IPAM struct {
			DataDir string `json:"dataDir"`
		} `json:"ipam"`
	}
	if err := decode(netconf, &doc, "network configuration"); err != nil {
		return "", err
	}
	c, err := location(document{Name: doc.Name}, section{DataDir: doc.IPAM.DataDir})
	return c.Dir(), err
}

// ParseStateDir finds the directory of node.json, for callers that need it to
// learn the defaults of [ParseConfig].
func ParseStateDir(netconf []byte) (statedir.Dir, error) {
	doc, sec, err := parseDocument(netconf)
	if err != nil {
		return "", err
	}
	c, err := location(doc, sec)
	return c.StateDir, err
}

func parseDocument(netconf []byte) (document, section, error) {
	var doc document
	var sec section
	if err := decode(netconf, &doc, "network configuration"); err != nil {
		return doc, sec, err
	}
	if len(doc.IPAM) == 0 {
		return doc, sec, nil
	}
	return doc, sec, decodeStrict(doc.IPAM, &sec, "ipam", sectionKeys())
}

func location(doc document, sec section) (Config, error) {
	c := Config{Network: doc.Name, DataDir: sec.DataDir, StateDir: statedir.Dir(sec.StateDir)}
	if c.DataDir == "" {
		c.DataDir = statedir.DefaultNetworksDir
	}
	if c.StateDir == "" {
		c.StateDir = statedir.DefaultDir
	}
	if !statedir.IsName(c.Network) {
		return Config{}, errorf(ErrConfig, "network name %q names no directory of reservations; use letters, digits, '_', '.' and '-', beginning with a letter or digit", c.Network)
	}
	if !filepath.IsAbs(c.DataDir) {
		return Config{}, errorf(ErrConfig, "ipam.dataDir %q depends on the directory the runtime runs in; write it from /", c.DataDir)
	}
	if !filepath.IsAbs(string(c.StateDir)) {
		return Config{}, errorf(ErrConfig, "ipam.stateDir %q depends on the directory the runtime runs in; write it from /", c.StateDir)
	}
	return c, nil
}

func checkRequested(c Config) error {
	asked := make([]netip.Addr, len(c.RangeSets))
	gateways := c.gateways()
	for _, a := range c.Requested {
		at := slices.IndexFunc(c.RangeSets, func(s RangeSet) bool { _, ok := s.Range(a); return ok })
		switch {
		case at < 0:
			return errorf(ErrConfig, "requested address %s is in none of the ranges %v; ask for one that is", a, c.RangeSets)
		case slices.Contains(gateways, a):
			return errorf(ErrConfig, "requested address %s is a gateway; ask for another", a)
		case asked[at].IsValid():
			return errorf(ErrConfig, "requested addresses %s and %s are of the same range set %s, which gives one; drop one of them", asked[at], a, c.RangeSets[at])
		}
		asked[at] = a
	}
	return nil
}

// gateways are the addresses that no pod gets, whichever range they are in.
func (c Config) gateways() []netip.Addr {
	var all []netip.Addr
	for _, s := range c.RangeSets {
		for _, r := range s {
			if r.Gateway.IsValid() && !slices.Contains(all, r.Gateway) {
				all = append(all, r.Gateway)
			}
		}
	}
	return all
}

// decode reads JSON; what names it in errors.
func decode(b []byte, into any, what string) error {
	err := json.Unmarshal(b, into)
	var wrongType *json.UnmarshalTypeError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &wrongType) && wrongType.Field == "":
		return errorf(ErrDecode, "%s is a JSON %s, not an object; see the plugin's documentation", what, wrongType.Value)
	case errors.As(err, &wrongType):
		return errorf(ErrDecode, "%s: %q holds a JSON %s, not what the key is for; see the plugin's documentation", what, wrongType.Field, wrongType.Value)
	}
	return errorf(ErrDecode, "%s is not valid JSON: %w", what, err)
}
