package reconcile

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/ropeway-net/ropeway/kernel"
	"github.com/ropeway-net/ropeway/statedir"
)

// sysctlMemory is sysctls.json: what node-wide sysctls were before the first
// change of this boot.
type sysctlMemory struct {
	BootID string                 `json:"bootID"`
	Values map[string]sysctlValue `json:"values"` // by path below /proc/sys
}

type sysctlValue struct {
	Before string `json:"before"`
	Set    string `json:"set"` // what Ropeway made of it
}

// errDamaged says that sysctls.json means nothing.
var errDamaged = errors.New("is damaged")

// readSysctls returns an empty memory when there is none of this boot.
func readSysctls(dir statedir.Dir, bootID string) (sysctlMemory, error) {
	empty := sysctlMemory{BootID: bootID, Values: map[string]sysctlValue{}}
	b, err := os.ReadFile(dir.SysctlsFile())
	if errors.Is(err, fs.ErrNotExist) {
		return empty, nil
	}
	if err != nil {
		return empty, fmt.Errorf("read earlier sysctl values: %w", err)
	}
	var m sysctlMemory
	if err := json.Unmarshal(b, &m); err != nil {
		return empty, fmt.Errorf("read earlier sysctl values: %s %w: %w; remove it", dir.SysctlsFile(), errDamaged, err)
	}
	if m.BootID != bootID || m.Values == nil {
		return empty, nil
	}
	return m, nil
}

// recordSysctls records the values that the plan is going to overwrite and
// returns the plan. If they cannot be recorded the plan comes without these
// changes: they could not be undone, while the rest of it can.
func (l *Loop) recordSysctls(d Decision) (kernel.Plan, error) {
	var sets []kernel.SysctlSet
	var rest kernel.Plan
	for _, op := range d.Plan.Ops {
		if set, ok := op.(kernel.SysctlSet); ok && !ofOwnLink(set.Key) {
			sets = append(sets, set)
			continue
		}
		rest.Ops = append(rest.Ops, op)
	}
	if len(sets) == 0 {
		return d.Plan, nil
	}
	memory, err := readSysctls(l.cfg.StateDir, l.cfg.BootID)
	if errors.Is(err, errDamaged) {
		l.log.Warn("earlier sysctl values are lost, cleanup will restore those of now", "cause", err.Error())
		err = nil
	}
	if err == nil {
		err = memory.add(l.cfg.StateDir, sets, d.snapshot.State.Sysctls)
	}
	if err != nil {
		return rest, err
	}
	return d.Plan, nil
}

// add puts what sets overwrite into sysctls.json. The sysctls of Ropeway's own
// links vanish with them and are not recorded.
func (m sysctlMemory) add(dir statedir.Dir, sets []kernel.SysctlSet, now map[string]string) error {
	changed := false
	for _, set := range sets {
		value, known := m.Values[set.Key]
		if !known {
			value.Before = now[set.Key]
		}
		if known && value.Set == set.Value {
			continue
		}
		value.Set = set.Value
		m.Values[set.Key] = value
		changed = true
	}
	if !changed {
		return nil
	}
	b, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return fmt.Errorf("encode sysctl values: %w", err)
	}
	if err := statedir.WriteFile(dir.SysctlsFile(), append(b, '\n')); err != nil {
		return fmt.Errorf("remember sysctl values before they are changed: %w", statedir.Explain(err))
	}
	return nil
}

func ofOwnLink(key string) bool {
	for part := range strings.SplitSeq(key, "/") {
		if strings.HasPrefix(part, kernel.TunnelPrefix) || strings.HasPrefix(part, kernel.PodLinkPrefix) {
			return true
		}
	}
	return false
}

// restored is what cleanup sets: values that are still as Ropeway left them go
// back to what they were.
func (m sysctlMemory) restored(now map[string]string) map[string]string {
	out := map[string]string{}
	for key, value := range m.Values {
		if now[key] == value.Set && value.Before != "" {
			out[key] = value.Before
		}
	}
	return out
}
