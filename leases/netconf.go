package leases

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"

	"github.com/ropeway-net/ropeway/endpoint"
	"github.com/ropeway-net/ropeway/ipam"
	"github.com/ropeway-net/ropeway/statedir"
)

// netconf is the plugin of a network configuration that takes addresses from
// our allocator or from host-local.
type netconf struct {
	network  string
	podCIDRs []netip.Prefix
	raw      []byte
}

// mostConfBytes bounds what is read of a network configuration.
const mostConfBytes = 1 << 20

// readNetconfs reads the network configurations of a directory. Those that are
// not valid are named in the error and do not hide the others.
func readNetconfs(dir string) ([]netconf, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read network configurations: %w", err)
	}
	var confs []netconf
	var errs []error
	for _, e := range entries {
		if !slices.Contains([]string{".conf", ".conflist", ".json"}, filepath.Ext(e.Name())) {
			continue
		}
		path := filepath.Join(dir, e.Name())
		b, err := statedir.ReadFile(path, mostConfBytes)
		if err == nil {
			var found []netconf
			found, err = parseNetconf(b)
			confs = append(confs, found...)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", path, err))
		}
	}
	return confs, errors.Join(errs...)
}

// parseNetconf reads a network configuration or a list of them.
func parseNetconf(b []byte) ([]netconf, error) {
	var list struct {
		Name    string            `json:"name"`
		Plugins []json.RawMessage `json:"plugins"`
	}
	if err := json.Unmarshal(b, &list); err != nil {
		return nil, fmt.Errorf("not valid: %w", err)
	}
	if list.Plugins == nil {
		list.Plugins = []json.RawMessage{b}
	}
	var confs []netconf
	for _, raw := range list.Plugins {
		var plugin struct {
			PodCIDRs []netip.Prefix `json:"podCIDRs"`
			IPAM     struct {
				Type string `json:"type"`
			} `json:"ipam"`
		}
		if err := json.Unmarshal(raw, &plugin); err != nil {
			return nil, fmt.Errorf("not valid: %w", err)
		}
		if plugin.IPAM.Type != "ropeway-ipam" && plugin.IPAM.Type != "host-local" {
			continue
		}
		named, err := withName(raw, list.Name)
		if err != nil {
			return nil, err
		}
		confs = append(confs, netconf{list.Name, plugin.PodCIDRs, named})
	}
	return confs, nil
}

// withName gives a plugin of a list the list's name, as a runtime does.
func withName(raw []byte, name string) ([]byte, error) {
	var keys map[string]json.RawMessage
	if err := json.Unmarshal(raw, &keys); err != nil {
		return nil, fmt.Errorf("not valid: %w", err)
	}
	quoted, err := json.Marshal(name)
	if err != nil {
		return nil, err
	}
	keys["name"] = quoted
	return json.Marshal(keys)
}

// config is what is known about a network's ranges: by its configuration, or
// else, where endpoint records show it to be Ropeway's, the node's pod CIDRs.
func (s *survey) config(network string) (ipam.Config, bool) {
	for _, c := range s.confs {
		if c.network != network {
			continue
		}
		defaults := c.podCIDRs
		if len(defaults) == 0 {
			defaults = s.node.PodCIDRs
		}
		if cfg, err := ipam.ParseConfig(c.raw, "", defaults); err == nil {
			return cfg, true
		}
	}
	if len(s.node.PodCIDRs) == 0 || !slices.ContainsFunc(s.records, func(r endpoint.Record) bool { return r.Network == network }) {
		return ipam.Config{}, false
	}
	named, err := withName([]byte("{}"), network)
	if err != nil {
		return ipam.Config{}, false
	}
	cfg, err := ipam.ParseConfig(named, "", s.node.PodCIDRs)
	return cfg, err == nil
}
