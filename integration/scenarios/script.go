package scenarios

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/ropeway-net/ropeway/daemon/topology"
	"github.com/ropeway-net/ropeway/integration/lab"
)

// Case is one run of a script: its place in the matrix.
type Case struct {
	Mode     topology.Mode
	Underlay lab.Families // which family comes first; nodes have both
	Pods     lab.Families
}

// Cases reads the header of a script and returns every case that it names.
func Cases(script []byte) ([]Case, error) {
	header := map[string][]string{"underlays": {"ipv4"}, "pods": {"dual"}}
	lines := bufio.NewScanner(bytes.NewReader(script))
	for lines.Scan() {
		text, isComment := strings.CutPrefix(lines.Text(), "# ")
		if !isComment {
			break
		}
		key, values, ok := strings.Cut(text, ": ")
		if ok && slices.Contains([]string{"modes", "underlays", "pods"}, key) {
			header[key] = strings.Fields(values)
		}
	}
	modes, err := parseModes(header["modes"])
	if err != nil {
		return nil, err
	}
	var cases []Case
	for _, mode := range modes {
		for _, underlay := range header["underlays"] {
			first, known := map[string]lab.Families{"ipv4": lab.Dual, "ipv6": lab.DualIPv6}[underlay]
			if !known {
				return nil, fmt.Errorf("header: underlay %q is neither ipv4 nor ipv6", underlay)
			}
			for _, pods := range header["pods"] {
				cases = append(cases, Case{Mode: mode, Underlay: first, Pods: lab.Families(pods)})
			}
		}
	}
	return cases, nil
}

func parseModes(names []string) ([]topology.Mode, error) {
	if len(names) == 0 {
		return nil, fmt.Errorf("header: no line `# modes: …`")
	}
	if slices.Equal(names, []string{"all"}) {
		return lab.Modes(), nil
	}
	var modes []topology.Mode
	for _, name := range names {
		if !slices.Contains(lab.Modes(), topology.Mode(name)) {
			return nil, fmt.Errorf("header: mode %q is none of %v", name, lab.Modes())
		}
		modes = append(modes, topology.Mode(name))
	}
	return modes, nil
}

// Supported says whether the running kernel has what a mode needs, over either
// underlay.
func Supported(mode topology.Mode) error {
	over4, over6 := lab.Options{Mode: mode}, lab.Options{Mode: mode, Underlay: lab.DualIPv6}
	return errors.Join(lab.Supported(over4), lab.Supported(over6))
}

// Name is the case as part of a test name.
func (c Case) Name() string {
	underlay := map[lab.Families]string{lab.Dual: "ipv4", lab.DualIPv6: "ipv6"}[c.Underlay]
	return fmt.Sprintf("over-%s/pods-%s", underlay, c.Pods)
}
