package reconcile

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/ropeway-net/ropeway/daemon/status"
	"github.com/ropeway-net/ropeway/statedir"
)

// mostConfBytes bounds what is read of a file that somebody else has written.
const mostConfBytes = 1 << 20

// foreignConf is somebody else's CNI configuration that the container runtime
// takes instead of ours.
type foreignConf struct {
	path    string
	network string
	err     error // why it cannot be understood
}

// foreignConf finds the configuration in front of ours: containerd and CRI-O
// take the first file in lexical order.
//
// It does not make the node unready. The daemon can do nothing about it, the
// pods that are there are served, and whoever replaces another network with
// Ropeway has both configurations on every node until Ropeway is ready there:
// a node that is not ready for that reason would stop the very rollout that
// ends it.
func (c Conflist) foreignConf() (foreignConf, bool) {
	entries, err := os.ReadDir(c.Dir) // sorted by name
	if err != nil {
		return foreignConf{}, false // write complains of that
	}
	for _, e := range entries {
		if e.Name() >= filepath.Base(c.Path()) {
			break
		}
		if e.IsDir() || !slices.Contains([]string{".conf", ".conflist", ".json"}, filepath.Ext(e.Name())) {
			continue
		}
		found, foreign := readForeignConf(filepath.Join(c.Dir, e.Name()))
		if foreign {
			return found, true
		}
	}
	return foreignConf{}, false
}

// readForeignConf says whether a file configures another network. One that has
// Ropeway among its plugins is the operator's own, and multus is given ours by
// name.
func readForeignConf(path string) (foreignConf, bool) {
	f := foreignConf{path: path}
	b, err := statedir.ReadFile(path, mostConfBytes)
	if errors.Is(err, fs.ErrNotExist) {
		return f, false // removed meanwhile
	}
	if err != nil {
		f.err = err
		return f, true
	}
	network, types, err := parseConf(b)
	if err != nil {
		f.err = err
		return f, true
	}
	f.network = network
	return f, !slices.ContainsFunc(types, func(t string) bool {
		return t == "ropeway" || t == "multus" || t == "multus-shim"
	})
}

// parseConf reads the network's name and its plugins' types of a configuration
// or a list of them.
func parseConf(b []byte) (network string, types []string, err error) {
	type plugin struct {
		Type string `json:"type"`
	}
	var conf struct {
		plugin
		Name    string   `json:"name"`
		Plugins []plugin `json:"plugins"`
	}
	if err := json.Unmarshal(b, &conf); err != nil {
		return "", nil, err
	}
	if conf.Type != "" {
		types = append(types, conf.Type)
	}
	for _, p := range conf.Plugins {
		types = append(types, p.Type)
	}
	return conf.Name, types, nil
}

// problem names file, network and remedy.
func (f foreignConf) problem(own string) error {
	what := fmt.Sprintf("configures network %q", f.network)
	if f.err != nil {
		what = fmt.Sprintf("cannot be understood (%s)", strings.ReplaceAll(f.err.Error(), "\n", " "))
	}
	return fmt.Errorf("CNI configuration %s %s and comes before %s, so that the container runtime gives new pods to it and not to Ropeway; remove it when the other network is gone: rm %s", f.path, what, filepath.Base(own), f.path)
}

// noteForeignConf tells of another network's configuration once for each.
func (l *Loop) noteForeignConf(problem error) {
	text := ""
	if problem != nil {
		text = problem.Error()
	}
	if text != "" && text != l.told.foreignConf {
		l.cfg.Notify(status.Notice{Warning: true, Reason: status.ForeignCNIConfig, Message: text})
	}
	l.told.foreignConf = text
}
