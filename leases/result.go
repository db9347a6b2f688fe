package leases

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/ropeway-net/ropeway/endpoint"
	"github.com/ropeway-net/ropeway/statedir"
)

// result is what libcni remembers of an attachment for its runtime, whatever
// plugin made it.
type result struct {
	Kind        string      `json:"kind"`
	ContainerID string      `json:"containerId"`
	IfName      string      `json:"ifName"`
	Network     string      `json:"networkName"`
	Netns       string      `json:"netns"`
	Args        [][2]string `json:"cniArgs"`
}

// mostResultBytes bounds what is read of a file of libcni.
const mostResultBytes = 4 << 20

// readResults reads libcni's cache. What it cannot read it leaves out, as libcni
// does: a file may be half written.
func readResults(dir string) ([]result, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read what libcni remembers: %w", err)
	}
	var results []result
	for _, e := range entries {
		b, err := statedir.ReadFile(filepath.Join(dir, e.Name()), mostResultBytes)
		if err != nil {
			continue
		}
		if r, ok := parseResult(b); ok {
			results = append(results, r)
		}
	}
	return results, nil
}

func parseResult(b []byte) (result, bool) {
	var r result
	err := json.Unmarshal(b, &r)
	return r, err == nil && r.Kind == "cniCacheV1" && r.ContainerID != "" && r.Network != ""
}

// pod is the pod that the runtime named.
func (r result) pod() endpoint.Pod {
	var p endpoint.Pod
	for _, arg := range r.Args {
		switch arg[0] {
		case "K8S_POD_NAMESPACE":
			p.Namespace = arg[1]
		case "K8S_POD_NAME":
			p.Name = arg[1]
		case "K8S_POD_UID":
			p.UID = arg[1]
		}
	}
	return p
}
