package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"

	"sigs.k8s.io/yaml"

	"github.com/ropeway-net/ropeway/statedir"
)

// Prefixes of the pods, large enough that no pool runs dry.
const (
	pods4 = "10.240.0.0/16"
	pods6 = "fd00:240::/64"
)

const (
	cniVersion = "1.1.0" // the first with STATUS
	bridgeLink = "cni0"
)

// setting is what a contender has to do, and where.
type setting struct {
	prefixes     []string // empty: IPv4 alone
	masquerade   bool
	hostPort     bool
	backend      string // of the reference's packet filter; empty: its default
	reservations int    // of other pods
	withoutOwn   bool   // ropewayd is stopped once it has made the node ready
	batch        int    // pods a round; 0: one
	width        int    // of them at a time; 0: one
}

func (s setting) pods() []string {
	if len(s.prefixes) == 0 {
		return []string{pods4}
	}
	return s.prefixes
}

// attacher begins a contender in a node of its own, with its state in dir, which
// is on a disk: a file system in memory would hide what disks cost.
func (s setting) attacher(title, dir string) (*attacher, error) {
	n, err := newNode()
	if err != nil {
		return nil, err
	}
	state, err := os.MkdirTemp(dir, statePattern)
	if err != nil {
		return nil, errors.Join(err, n.close())
	}
	return &attacher{
		title: title, network: network{node: n}, state: state, ports: s.hostPort,
		batch: max(1, s.batch), width: max(1, s.width),
	}, nil
}

// removeStates removes what a run that was killed left in dir.
func removeStates(dir string) error {
	left, err := filepath.Glob(filepath.Join(dir, statePattern))
	if err != nil {
		return err
	}
	for _, state := range left {
		if err := os.RemoveAll(state); err != nil {
			return err
		}
	}
	return nil
}

// statePattern is what the directories of contenders are called.
const statePattern = "state-*"

// ropeway is our plugin beside its daemon, configured by what that writes.
func ropeway(ctx context.Context, b binaries, title string, s setting) (*attacher, error) {
	a, err := s.attacher(title, b.states)
	if err != nil {
		return nil, err
	}
	err = a.startRopeway(ctx, b, s)
	if err == nil {
		err = a.prepare()
	}
	if err != nil {
		return nil, errors.Join(err, a.close())
	}
	return a, nil
}

func (a *attacher) startRopeway(ctx context.Context, b binaries, s setting) error {
	state := statedir.Dir(filepath.Join(a.state, "ropeway"))
	networks, confDir := filepath.Join(a.state, "networks"), filepath.Join(a.state, "net.d")
	files := map[string]any{
		"nodes.yaml": map[string]any{"nodes": []any{map[string]any{
			"name": "bench", "addresses": []string{nodeAddress}, "podCIDRs": s.pods(),
		}}},
		"ropewayd.yaml": map[string]any{
			"node": "bench", "nodesFile": filepath.Join(a.state, "nodes.yaml"), "stateDir": state,
			"networksDir": networks, "cniConfDir": confDir, "masquerade": s.masquerade, "network": "bench",
		},
	}
	for name, content := range files {
		text, err := yaml.Marshal(content)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(a.state, name), text, 0o600); err != nil {
			return err
		}
	}
	if err := fill(filepath.Join(networks, "bench"), pods4, s.reservations); err != nil {
		return err
	}
	d, err := startDaemon(ctx, a.network.node, b.ropewayd, filepath.Join(a.state, "ropewayd.yaml"), filepath.Join(a.state, "log"), state)
	if err != nil {
		return err
	}
	a.daemon = d
	if a.network.plugins, err = readList(confDir, b.dir); err != nil || !s.withoutOwn {
		return err
	}
	a.daemon = nil
	return d.stop()
}

// readList reads the only configuration list in a directory.
func readList(confDir, binDir string) ([]plugin, error) {
	found, err := filepath.Glob(filepath.Join(confDir, "*.conflist"))
	if err != nil || len(found) != 1 {
		return nil, fmt.Errorf("%s holds %d configuration lists, want one; %w", confDir, len(found), err)
	}
	text, err := os.ReadFile(found[0])
	if err != nil {
		return nil, err
	}
	var list struct {
		Name    string
		Plugins []map[string]any
	}
	if err := json.Unmarshal(text, &list); err != nil {
		return nil, fmt.Errorf("%s: %w", found[0], err)
	}
	return plugins(binDir, list.Name, list.Plugins...)
}

// plugins are the entries of a list as they are handed over.
func plugins(binDir, network string, confs ...map[string]any) ([]plugin, error) {
	var list []plugin
	for _, conf := range confs {
		kind, ok := conf["type"].(string)
		if !ok {
			return nil, fmt.Errorf("plugin without a type: %v", conf)
		}
		conf["name"], conf["cniVersion"] = network, cniVersion
		list = append(list, plugin{path: filepath.Join(binDir, kind), conf: conf})
	}
	return list, nil
}

// ptp is the reference plugin that wires pods as ours does, with host-local.
func ptp(b binaries, title string, s setting) (*attacher, error) {
	return reference(b, title, s, map[string]any{"type": "ptp", "mtu": 1500})
}

// bridge is the reference plugin that most nodes have, with host-local.
func bridge(b binaries, title string, s setting) (*attacher, error) {
	return reference(b, title, s, map[string]any{
		"type": "bridge", "bridge": bridgeLink, "isGateway": true, "hairpinMode": true, "mtu": 1500,
	})
}

func reference(b binaries, title string, s setting, main map[string]any) (*attacher, error) {
	a, err := s.attacher(title, b.states)
	if err != nil {
		return nil, err
	}
	networks := filepath.Join(a.state, "networks")
	var ranges [][]map[string]string
	var routes []map[string]string
	for _, p := range s.pods() {
		ranges = append(ranges, []map[string]string{{"subnet": p}})
		routes = append(routes, map[string]string{"dst": anywhere(p)})
	}
	main["ipam"] = map[string]any{"type": "host-local", "dataDir": networks, "ranges": ranges, "routes": routes}
	main["ipMasq"] = s.masquerade
	confs := []map[string]any{main}
	if s.hostPort {
		confs = append(confs, map[string]any{"type": "portmap", "capabilities": map[string]bool{"portMappings": true}})
	}
	switch {
	case s.backend != "" && s.hostPort:
		confs[1]["backend"] = s.backend
	case s.backend != "":
		main["ipMasqBackend"] = s.backend
	}
	a.network.plugins, err = plugins(b.dir, "bench", confs...)
	if err == nil {
		err = fill(filepath.Join(networks, "bench"), pods4, s.reservations)
	}
	if err == nil {
		err = a.prepare()
	}
	if err != nil {
		return nil, errors.Join(err, a.close())
	}
	return a, nil
}

// anywhere is the default route's destination in the family of a prefix.
func anywhere(prefix string) string {
	if p, err := netip.ParsePrefix(prefix); err == nil && p.Addr().Is6() {
		return "::/0"
	}
	return "0.0.0.0/0"
}
