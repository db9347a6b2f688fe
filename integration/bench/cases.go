package main

import "fmt"

// Prefixes of the pods, large enough that no pool runs dry.
const (
	pods4 = "10.240.0.0/16"
	pods6 = "fd00:240::/64"
)

// comparisons are all that there are, in the order in which they run. A new
// one needs a contender on each side and an entry here.
func comparisons(b binaries) []comparison {
	return []comparison{
		{
			name:  "attach",
			what:  "ADD and DEL, IPv4, one after the other",
			open:  func() (contender, contender, error) { return attachPair(b, pods4) },
			cases: map[string]string{"ADD": "add", "DEL": "del"},
			order: []string{"ADD", "DEL"},
		},
		{
			name:  "attach-dual",
			what:  "ADD and DEL, IPv4 and IPv6, one after the other",
			open:  func() (contender, contender, error) { return attachPair(b, pods4, pods6) },
			cases: map[string]string{"ADD": "add-dual", "DEL": "del-dual"},
			order: []string{"ADD", "DEL"},
			limit: 30, // ptp waits for duplicate address detection, over a second
		},
		{
			name: "version",
			what: "VERSION against an empty Go program",
			open: func() (contender, contender, error) {
				return versionQuery(b.ropeway), emptyProgram(b.empty), nil
			},
			cases: map[string]string{"run": "version"},
			order: []string{"run"},
		},
	}
}

// targets are what the project promises: the highest ratio of a case.
func targets() map[string]float64 {
	return map[string]float64{"add": 1, "add-dual": 1, "version": 2}
}

// maxPluginBytes is what the main plugin may weigh.
const maxPluginBytes = 7_000_000

// attachPair sets our plugin against ptp with host-local on the same prefixes.
func attachPair(b binaries, prefixes ...string) (contender, contender, error) {
	ours, err := newAttacher("ropeway", b.ropeway, b.dir, func(state string) map[string]any {
		return map[string]any{
			"cniVersion": "1.0.0", "name": "bench", "type": "ropeway",
			"stateDir": state + "/ropeway", "podCIDRs": prefixes, "mtu": 1500,
			"ipam": map[string]any{"type": "ropeway-ipam", "dataDir": state + "/networks"},
		}
	})
	if err != nil {
		return nil, nil, err
	}
	theirs, err := newAttacher("ptp", b.ptp, b.dir, func(state string) map[string]any {
		var ranges [][]map[string]string
		var routes []map[string]string
		for _, p := range prefixes {
			ranges = append(ranges, []map[string]string{{"subnet": p}})
			routes = append(routes, map[string]string{"dst": anywhere(p)})
		}
		return map[string]any{
			"cniVersion": "1.0.0", "name": "bench", "type": "ptp", "mtu": 1500,
			"ipam": map[string]any{"type": "host-local", "dataDir": state + "/networks", "ranges": ranges, "routes": routes},
		}
	})
	if err != nil {
		return nil, nil, fmt.Errorf("%w (and: %w)", err, ours.close())
	}
	return ours, theirs, nil
}
