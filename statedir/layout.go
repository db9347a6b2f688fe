package statedir

import (
	"fmt"
	"path/filepath"
)

const (
	// DefaultDir holds Ropeway's own state.
	DefaultDir = "/var/lib/cni/ropeway"
	// DefaultNetworksDir holds IPAM reservations, one directory per network,
	// in host-local's layout.
	DefaultNetworksDir = "/var/lib/cni/networks"
)

// Dir is the root of Ropeway's own state, [DefaultDir] unless configured.
type Dir string

// NodeFile is what the daemon tells the plugin.
func (d Dir) NodeFile() string { return filepath.Join(string(d), "node.json") }

// PeersFile holds the last known nodes.
func (d Dir) PeersFile() string { return filepath.Join(string(d), "peers.json") }

// SysctlsFile holds the values that sysctls had before Ropeway changed them.
func (d Dir) SysctlsFile() string { return filepath.Join(string(d), "sysctls.json") }

// ConfigFile holds the configuration that the daemon worked with last.
func (d Dir) ConfigFile() string { return filepath.Join(string(d), "config.json") }

// Endpoints is the directory of endpoint records.
func (d Dir) Endpoints() string { return filepath.Join(string(d), "endpoints") }

// Log is the directory of rotated logs.
func (d Dir) Log() string { return filepath.Join(string(d), "log") }

// FreedFile is where the addresses are that pods gave back lately.
func (d Dir) FreedFile() string { return filepath.Join(string(d), "freed") }

// RequestsSocket is where the daemon listens for reports of the plugin.
func (d Dir) RequestsSocket() string { return filepath.Join(string(d), "requests.sock") }

// RetiredSocket is where the daemon of a network namespace, which is given by its
// inode, listens for links to delete: one that runs elsewhere does not see them.
func (d Dir) RetiredSocket(netns uint64) string {
	return filepath.Join(string(d), fmt.Sprintf("retired-%d.sock", netns))
}

// RetiredSockets are those that exist, of whatever network namespace.
func (d Dir) RetiredSockets() []string {
	found, _ := filepath.Glob(filepath.Join(string(d), "retired-*.sock")) // fails for no pattern like this
	return found
}

// Socket is the daemon's local status socket.
func (d Dir) Socket() string { return filepath.Join(string(d), "ropewayd.sock") }
