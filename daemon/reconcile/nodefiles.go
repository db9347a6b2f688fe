package reconcile

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"

	"github.com/ropeway-net/ropeway/endpoint"
	"github.com/ropeway-net/ropeway/statedir"
)

// writeNode tells the plugin about the node, unless node.json says it already.
func writeNode(cfg Config, d Decision) error {
	node := statedir.Node{
		BootID:   cfg.BootID,
		Name:     d.Self.Name,
		Mode:     string(cfg.Topology.Mode),
		PodCIDRs: d.Self.PodCIDRs,
		MTU:      d.Result.PodMTU,
		Sources:  d.Result.Sources,
	}
	if have, err := cfg.StateDir.ReadNode(); err == nil && reflect.DeepEqual(have, node) {
		return nil
	}
	if err := cfg.StateDir.WriteNode(node); err != nil {
		return fmt.Errorf("tell the plugin about the node: %w", err)
	}
	return nil
}

// dropTornRecords removes the endpoint records that a power cut has torn. While
// node.json is of an earlier boot, no plugin has attached a pod by it in this one;
// and one that needs no node.json writes records that are whole.
func (l *Loop) dropTornRecords() {
	node, err := l.cfg.StateDir.ReadNode()
	if err != nil || node.BootID == l.cfg.BootID {
		return
	}
	dropped, err := endpoint.Store{Dir: l.cfg.StateDir.Endpoints()}.DropDamaged()
	if len(dropped) > 0 {
		l.log.Info("an earlier boot ended before these endpoint records were on the disk, they are removed", "files", dropped)
	}
	if err != nil { // the passes to come name them as problems
		l.log.Warn("endpoint records of an earlier boot cannot be removed", "cause", err.Error())
	}
}

// Conflist is the CNI network configuration that the container runtime reads.
type Conflist struct {
	Dir         string // of the runtime, for instance /etc/cni/net.d
	Network     string // name of the network
	StateDir    statedir.Dir
	NetworksDir string // of IPAM
}

// Path is the file that the configuration is written to.
func (c Conflist) Path() string { return filepath.Join(c.Dir, "10-ropeway.conflist") }

// Render returns the file's content. Directories are named only where they
// are not the defaults.
func (c Conflist) Render() ([]byte, error) {
	type ipam struct {
		Type    string `json:"type"`
		DataDir string `json:"dataDir,omitempty"`
	}
	type plugin struct {
		Type         string          `json:"type"`
		Capabilities map[string]bool `json:"capabilities"`
		StateDir     string          `json:"stateDir,omitempty"`
		IPAM         ipam            `json:"ipam"`
	}
	type conflist struct {
		CNIVersion  string   `json:"cniVersion"`
		CNIVersions []string `json:"cniVersions"`
		Name        string   `json:"name"`
		Plugins     []plugin `json:"plugins"`
	}
	p := plugin{Type: "ropeway", Capabilities: map[string]bool{"bandwidth": true, "portMappings": true}, IPAM: ipam{Type: "ropeway-ipam"}}
	if c.StateDir != statedir.DefaultDir {
		p.StateDir = string(c.StateDir)
	}
	if c.NetworksDir != statedir.DefaultNetworksDir {
		p.IPAM.DataDir = c.NetworksDir
	}
	b, err := json.MarshalIndent(conflist{"1.0.0", []string{"1.0.0", "1.1.0"}, c.Network, []plugin{p}}, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode CNI configuration: %w", err)
	}
	return append(b, '\n'), nil
}

// write puts the configuration in place unless it is there already.
func (c Conflist) write() error {
	want, err := c.Render()
	if err != nil {
		return err
	}
	have, err := os.ReadFile(c.Path())
	if err == nil && bytes.Equal(have, want) {
		return nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("CNI configuration: %w", err)
	}
	if err := statedir.WriteFile(c.Path(), want); err != nil {
		return fmt.Errorf("CNI configuration: %w", err)
	}
	return nil
}
