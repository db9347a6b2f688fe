package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/ropeway-net/ropeway/daemon/health"
	"github.com/ropeway-net/ropeway/daemon/topology"
	"github.com/ropeway-net/ropeway/kernel"
	"github.com/ropeway-net/ropeway/statedir"
)

const defaultConfigFile = "/etc/ropeway/ropewayd.yaml"

// Config is ropewayd.yaml. Keys that are left out have the values of
// [defaultConfig].
type Config struct {
	Node        string        `json:"node"`        // this node's name in the list
	Source      string        `json:"source"`      // file or kubernetes
	Kubeconfig  string        `json:"kubeconfig"`  // empty: the pod's service account
	NodeAddress []string      `json:"nodeAddress"` // interfaces, CIDRs or addresses; empty: as listed
	Mode        topology.Mode `json:"mode"`
	NodesFile   string        `json:"nodesFile"`
	MTU         int           `json:"mtu"` // of pods, bytes; 0: from the underlay
	VXLAN       VXLANConfig   `json:"vxlan"`
	Masquerade  bool          `json:"masquerade"`
	StateDir    statedir.Dir  `json:"stateDir"`
	NetworksDir string        `json:"networksDir"`
	CNIConfDir  string        `json:"cniConfDir"`
	ProcSys     string        `json:"procSys"` // where sysctls are, when /proc/sys is read-only
	Network     string        `json:"network"` // CNI network name
	LogLevel    string        `json:"logLevel"`
	Resync      string        `json:"resync"` // duration such as 60s
	// HealthAddress is where health and metrics are asked for, a literal
	// address and port; empty: nowhere.
	HealthAddress string `json:"healthAddress"`
	// Probe says that peers are asked from time to time whether they answer.
	Probe bool `json:"probe"`
}

// VXLANConfig is what all nodes must agree on, but for checksumOffload.
type VXLANConfig struct {
	VNI  uint32 `json:"vni"`
	Port uint16 `json:"port"`

	ChecksumOffload topology.ChecksumOffload `json:"checksumOffload"`
}

func defaultConfig() Config {
	return Config{
		Source:      sourceFile,
		Mode:        topology.VXLAN,
		NodesFile:   "/etc/ropeway/nodes.yaml",
		VXLAN:       VXLANConfig{VNI: 114, Port: 4789, ChecksumOffload: topology.OffloadAuto},
		Masquerade:  true,
		StateDir:    statedir.DefaultDir,
		NetworksDir: statedir.DefaultNetworksDir,
		CNIConfDir:  "/etc/cni/net.d",
		ProcSys:     kernel.ProcSys,
		Network:     "ropeway",
		LogLevel:    "info",
		Resync:      "60s",

		HealthAddress: "127.0.0.1:9114",
		Probe:         true,
	}
}

// overrides are what the command line and the environment say; empty: nothing.
type overrides struct {
	node        string
	nodeAddress []string
}

func (o overrides) apply(c *Config) error {
	if o.node != "" {
		c.Node = o.node
	}
	if len(o.nodeAddress) > 0 {
		c.NodeAddress = o.nodeAddress
	}
	return c.validate()
}

// LoadConfig reads and checks the configuration.
func LoadConfig(path string, given overrides) (Config, error) {
	b, err := readConfig(path)
	if err != nil {
		return Config{}, err
	}
	return checkConfig(path, b, given)
}

// checkConfig checks what was read from a file.
func checkConfig(path string, b []byte, given overrides) (Config, error) {
	cfg, err := ParseConfig(b)
	if err != nil {
		return Config{}, fmt.Errorf("configuration %s: %w", path, err)
	}
	if err = given.apply(&cfg); err != nil {
		return Config{}, fmt.Errorf("command line or environment: %w", err)
	}
	if cfg.Node == "" {
		if cfg.Node, err = os.Hostname(); err != nil {
			return Config{}, fmt.Errorf("configuration %s: node is not set and the hostname cannot be read: %w", path, err)
		}
	}
	return cfg, nil
}

// ParseConfig reads strict YAML: a key that is unknown or given twice is an
// error, because it would otherwise be a setting without effect.
func ParseConfig(b []byte) (Config, error) {
	cfg := defaultConfig()
	if err := yaml.UnmarshalStrict(b, &cfg); err != nil {
		return Config{}, fmt.Errorf("not valid: %s", plainCause(err))
	}
	return cfg, cfg.validate()
}

// plainCause shortens what the library says, which reads YAML by way of JSON
// and tells so at length.
func plainCause(err error) string {
	return strings.NewReplacer(
		"error unmarshaling JSON: while decoding JSON: json: ", "",
		"error converting YAML to JSON: yaml: ", "",
		"unmarshal errors:\n  ", "",
		"Go struct field Config.", "key ",
		"Go struct field VXLANConfig.", "key ",
	).Replace(err.Error())
}

// name is what may become a directory or a CNI network name.
var name = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.\-]*$`)

// validate names every bad value at once.
func (c Config) validate() error {
	var errs []error
	refuse := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if !slices.Contains(topology.Modes(), c.Mode) {
		refuse("mode %q is unknown; use one of %s", c.Mode, strings.Trim(fmt.Sprint(topology.Modes()), "[]"))
	}
	if c.Source != sourceFile && c.Source != sourceKubernetes {
		refuse("source %q is unknown; use %s or %s", c.Source, sourceFile, sourceKubernetes)
	}
	if c.Kubeconfig != "" && (!filepath.IsAbs(c.Kubeconfig) || filepath.Clean(c.Kubeconfig) != c.Kubeconfig) {
		refuse("kubeconfig %q is no clean absolute path; write it from / on, or leave it out to use the pod's service account", c.Kubeconfig)
	}
	if _, err := c.addressRules(); err != nil {
		errs = append(errs, err)
	}
	if c.MTU != 0 && (c.MTU < 576 || c.MTU > 65535) {
		refuse("mtu %d is not between 576 and 65535; leave it out to have it computed", c.MTU)
	}
	if c.VXLAN.VNI == 0 || c.VXLAN.VNI >= 1<<24 {
		refuse("vxlan.vni %d is not between 1 and 16777215", c.VXLAN.VNI)
	}
	if c.VXLAN.Port == 0 {
		refuse("vxlan.port 0 is no UDP port; leave it out to use 4789")
	}
	if !slices.Contains(topology.ChecksumOffloads(), c.VXLAN.ChecksumOffload) {
		refuse("vxlan.checksumOffload %q is unknown; use one of %s", c.VXLAN.ChecksumOffload, strings.Trim(fmt.Sprint(topology.ChecksumOffloads()), "[]"))
	}
	if c.Node != "" && !name.MatchString(c.Node) {
		refuse("node %q is no node name; use the name from the list of nodes", c.Node)
	}
	if !name.MatchString(c.Network) {
		refuse("network %q is no network name; use letters, digits, '_', '.', '-'", c.Network)
	}
	for _, path := range []struct{ key, value string }{
		{"nodesFile", c.NodesFile},
		{"stateDir", string(c.StateDir)},
		{"networksDir", c.NetworksDir},
		{"cniConfDir", c.CNIConfDir},
		{"procSys", c.ProcSys},
	} {
		if !filepath.IsAbs(path.value) || filepath.Clean(path.value) != path.value || path.value == "/" {
			refuse("%s %q is no clean absolute path; write it from / on, without '..' and without '/' at the end", path.key, path.value)
		}
	}
	if _, err := parseLevel(c.LogLevel); err != nil {
		errs = append(errs, err)
	}
	if _, err := c.resync(); err != nil {
		errs = append(errs, err)
	}
	errs = append(errs, health.CheckAddress(c.HealthAddress))
	return errors.Join(errs...)
}

// addressRules reads nodeAddress.
func (c Config) addressRules() ([]topology.AddressRule, error) {
	var rules []topology.AddressRule
	for _, text := range c.NodeAddress {
		rule, err := topology.ParseAddressRule(text)
		if err != nil {
			return nil, fmt.Errorf("nodeAddress: %w", err)
		}
		rules = append(rules, rule)
	}
	return rules, nil
}

func (c Config) resync() (time.Duration, error) {
	d, err := time.ParseDuration(c.Resync)
	if err != nil || d < time.Second || d > 24*time.Hour {
		return 0, fmt.Errorf("resync %q is no duration between 1s and 24h; write for instance 60s", c.Resync)
	}
	return d, nil
}
