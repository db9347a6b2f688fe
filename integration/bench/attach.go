package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
)

// attacher attaches one pod after the other to a node of its own, and
// detaches it again: one ADD and one DEL a round, the way a runtime calls the
// plugin.
type attacher struct {
	plugin   string
	path     string
	node     *namespace
	pods     []*namespace // kept, since taking one down would disturb the next round
	stateDir string
	conf     map[string]any
	pathEnv  string // where delegates are
	count    int
}

// newAttacher makes a node for the plugin at path. Its state is on the disk
// that holds dir, since a file system in memory would hide the cost of fsync.
func newAttacher(plugin, path, dir string, conf func(stateDir string) map[string]any) (*attacher, error) {
	state, err := os.MkdirTemp(dir, "state-*")
	if err != nil {
		return nil, err
	}
	node, err := newNamespace()
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(state))
	}
	return &attacher{
		plugin: plugin, path: path, node: node, stateDir: state,
		conf: conf(state), pathEnv: filepath.Dir(path),
	}, nil
}

func (a *attacher) name() string { return a.plugin }

func (a *attacher) round(ctx context.Context) ([]timing, error) {
	pod, err := newNamespace()
	if err != nil {
		return nil, err
	}
	a.pods = append(a.pods, pod)
	a.count++
	id := fmt.Sprintf("bench%08d%s", a.count, strings.Repeat("0", 51)) // 64 digits, as containerd has them
	stdin, err := json.Marshal(a.conf)
	if err != nil {
		return nil, err
	}
	add, err := a.node.exec(ctx, a.path, a.env("ADD", id, pod), stdin)
	if err != nil {
		return nil, err
	}
	// A runtime hands DEL what ADD returned.
	withResult := map[string]any{"prevResult": json.RawMessage(add.stdout)}
	for k, v := range a.conf {
		withResult[k] = v
	}
	if stdin, err = json.Marshal(withResult); err != nil {
		return nil, fmt.Errorf("result of ADD %q: %w", add.stdout, err)
	}
	del, err := a.node.exec(ctx, a.path, a.env("DEL", id, pod), stdin)
	if err != nil {
		return nil, err
	}
	return []timing{{"ADD", add.elapsed}, {"DEL", del.elapsed}}, nil
}

func (a *attacher) env(command, id string, pod *namespace) []string {
	return []string{
		"PATH=" + os.Getenv("PATH"),
		"CNI_COMMAND=" + command, "CNI_CONTAINERID=" + id, "CNI_IFNAME=eth0",
		"CNI_NETNS=" + pod.path(), "CNI_PATH=" + a.pathEnv,
		"CNI_ARGS=IgnoreUnknown=1;K8S_POD_NAMESPACE=bench;K8S_POD_NAME=pod;K8S_POD_INFRA_CONTAINER_ID=" + id,
	}
}

// close takes everything down. A link that is left on the node means that DEL
// did not do its work, and that its time is worth nothing.
func (a *attacher) close() error {
	links, err := a.node.links()
	if len(links) > 0 {
		err = fmt.Errorf("%s left %d links on its node after DEL: %s", a.plugin, len(links), strings.Join(links, " "))
	}
	for _, pod := range a.pods {
		err = errors.Join(err, pod.close())
	}
	return errors.Join(err, a.node.close(), os.RemoveAll(a.stateDir))
}

// anywhere is the default route's destination in the family of a prefix.
func anywhere(prefix string) string {
	if p, err := netip.ParsePrefix(prefix); err == nil && p.Addr().Is6() {
		return "::/0"
	}
	return "0.0.0.0/0"
}
