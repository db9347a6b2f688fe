package lab

import (
	"fmt"
	"maps"

	"sigs.k8s.io/yaml"

	"github.com/ropeway-net/ropeway/statedir"
)

// writeConfig writes the node's ropewayd.yaml.
func (n *Node) writeConfig() error {
	config := map[string]any{
		"node":        n.Name,
		"mode":        string(n.lab.options.Mode),
		"nodesFile":   n.NodesFile(),
		"stateDir":    string(n.StateDir()),
		"networksDir": n.NetworksDir(),
		"cniConfDir":  n.NetDir(),
		"logLevel":    "debug",
	}
	maps.Copy(config, n.lab.options.ExtraConfig)
	return n.WriteConfig(config)
}

// WriteConfig replaces the node's ropewayd.yaml by one with exactly the given
// keys. A daemon that runs takes over what is valid.
func (n *Node) WriteConfig(config map[string]any) error {
	b, err := yaml.Marshal(config)
	if err != nil {
		return fmt.Errorf("node %s: configuration: %w", n.Name, err)
	}
	return statedir.WriteFile(n.ConfigFile(), b)
}
