package ipam

import (
	"encoding/json"
	"net/netip"
	"path/filepath"
	"slices"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/ropeway-net/ropeway/jsonobject"
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
	Name                      string
	IPAM, RuntimeConfig, Args json.RawMessage
}

// wishes are what the runtime asks for, in runtimeConfig and in args.
type wishes struct {
	IPs      []string
	IPRanges [][]json.RawMessage
	argsIPs  []string // args.cni.ips
}

func (d document) wishes() (wishes, error) {
	var w wishes
	var ranges, cni json.RawMessage
	err := decode(d.RuntimeConfig, "runtimeConfig", jsonobject.Field{Name: "ips", Into: &w.IPs}, jsonobject.Field{Name: "ipRanges", Into: &ranges})
	if err == nil {
		err = decodeList(ranges, "runtimeConfig.ipRanges", &w.IPRanges)
	}
	if err != nil {
		return w, err
	}
	if err := decode(d.Args, "args", jsonobject.Field{Name: "cni", Into: &cni}); err != nil {
		return w, err
	}
	return w, decode(cni, "args.cni", jsonobject.Field{Name: "ips", Into: &w.argsIPs})
}

// section is the ipam section.
type section struct {
	Type, DataDir, StateDir, ResolvConf string
	Routes                              []json.RawMessage
	Ranges                              [][]json.RawMessage
	rangeSection
}

func (s *section) decode(text []byte) error {
	var routes, ranges json.RawMessage
	err := decodeStrict(text, "ipam", append([]jsonobject.Field{
		{Name: "type", Into: &s.Type}, {Name: "dataDir", Into: &s.DataDir}, {Name: "stateDir", Into: &s.StateDir},
		{Name: "resolvConf", Into: &s.ResolvConf}, {Name: "routes", Into: &routes}, {Name: "ranges", Into: &ranges},
	}, s.fields()...)...)
	if err == nil {
		err = decodeList(routes, "ipam.routes", &s.Routes)
	}
	if err == nil {
		err = decodeList(ranges, "ipam.ranges", &s.Ranges)
	}
	return err
}

type rangeSection struct{ Subnet, RangeStart, RangeEnd, Gateway string }

func (s *rangeSection) fields() []jsonobject.Field {
	return []jsonobject.Field{
		{Name: "subnet", Into: &s.Subnet}, {Name: "rangeStart", Into: &s.RangeStart},
		{Name: "rangeEnd", Into: &s.RangeEnd}, {Name: "gateway", Into: &s.Gateway},
	}
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
	doc, err := parseTop(netconf)
	var sec section
	if err == nil {
		err = decode(doc.IPAM, "ipam", jsonobject.Field{Name: "dataDir", Into: &sec.DataDir})
	}
	if err != nil {
		return "", err
	}
	c, err := location(doc, sec)
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
	doc, err := parseTop(netconf)
	var sec section
	if err == nil {
		err = sec.decode(doc.IPAM)
	}
	return doc, sec, err
}

func parseTop(netconf []byte) (document, error) {
	var doc document
	return doc, decodeError("", jsonobject.Decode(netconf, []jsonobject.Field{
		{Name: "name", Into: &doc.Name}, {Name: "ipam", Into: &doc.IPAM}, {Name: "runtimeConfig", Into: &doc.RuntimeConfig}, {Name: "args", Into: &doc.Args},
	}...))
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
