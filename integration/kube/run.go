package kube

import (
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/ropeway-net/ropeway/daemon/topology"
)

// Run is one run of a selection of specs.
type Run struct {
	Mode      topology.Mode `json:"mode"`
	Proxy     Proxy         `json:"proxy"`
	Selection Selection     `json:"selection"`
	Verdicts  []Verdict     `json:"verdicts"`
}

// title is how tables name the run's cluster.
func (r Run) title() string { return fmt.Sprintf("%s, kube-proxy %s", r.Mode, r.Proxy) }

// RunsDir is where runs are kept until the next of the same kind.
func RunsDir(root string) string { return filepath.Join(BuildDir(root), "conformance") }

// File is the path of the run's files without an extension.
func (r Run) File(root string) string {
	return filepath.Join(RunsDir(root), fmt.Sprintf("%s-%s-%s", r.Mode, r.Proxy, r.Selection))
}

// Save keeps the run for [Runs].
func (r Run) Save(root string) error {
	b, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(r.File(root)+".json", append(b, '\n'), 0o644)
}

// Runs returns the runs that were kept.
func Runs(root string) ([]Run, error) {
	paths, err := filepath.Glob(filepath.Join(RunsDir(root), "*.json"))
	if err != nil {
		return nil, err
	}
	var runs []Run
	for _, path := range paths {
		b, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		var r Run
		if err := json.Unmarshal(b, &r); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		runs = append(runs, r)
	}
	order := []topology.Mode{topology.VXLAN, topology.VXLANCrossSubnet, topology.Direct}
	slices.SortFunc(runs, func(a, b Run) int {
		return cmp.Or(-strings.Compare(string(a.Proxy), string(b.Proxy)), cmp.Compare(slices.Index(order, a.Mode), slices.Index(order, b.Mode)), strings.Compare(string(a.Selection), string(b.Selection)))
	})
	return runs, nil
}

// Report writes the runs as a page in Markdown.
func Report(runs []Run) string {
	var b strings.Builder
	fmt.Fprintf(&b, `# Conformance

Kubernetes %s's own end-to-end tests of the network, run by %smake conformance%s
against a real cluster: API server, controllers, scheduler, kubelets, containerd,
CoreDNS and kube-proxy on three dual-stack nodes, Ropeway installed by its
manifest. In the modes with a tunnel one of the nodes is behind a router. The
page is written by that command.

| cluster | specs | run | passed | failed | skipped by the spec |
|---|---|---|---|---|---|
`, kubernetesVersion, "`", "`")
	for _, r := range runs {
		passed, failed, skipped := Count(r.Verdicts, Passed), Count(r.Verdicts, Failed), Count(r.Verdicts, Skipped)
		fmt.Fprintf(&b, "| %s | %s | %d | %d | %d | %d |\n", r.title(), r.Selection, passed+failed, passed, failed, skipped)
	}
	b.WriteString("\n`conformance`: the specs that every certified cluster passes; `further`: all other\n[sig-network] specs that need nothing the cluster lacks; `short`: paths, Services,\nnames and host ports.\n")
	writeNotPassed(&b, runs)
	writeExcluded(&b, runs)
	return b.String()
}

func writeNotPassed(b *strings.Builder, runs []Run) {
	b.WriteString("\n## Failed, or skipped by the spec itself\n\n| spec | cluster | outcome | the spec's words | why |\n|---|---|---|---|---|\n")
	none := true
	for _, r := range runs {
		for _, v := range r.Verdicts {
			if v.Outcome == Failed || v.Outcome == Skipped {
				none = false
				fmt.Fprintf(b, "| %s | %s | %s | %s | %s |\n", cell(v.Spec), r.title(), v.Outcome, cell(v.Reason), explained(v))
			}
		}
	}
	if none {
		b.WriteString("| none | | | | |\n")
	}
}

// writeExcluded lists what was not run, by reason.
func writeExcluded(b *strings.Builder, runs []Run) {
	byReason := map[string][]string{}
	for _, r := range runs {
		for _, v := range r.Verdicts {
			if v.Outcome == Excluded && !slices.Contains(byReason[v.Reason], v.Spec) {
				byReason[v.Reason] = append(byReason[v.Reason], v.Spec)
			}
		}
	}
	b.WriteString("\n## Not run\n")
	for _, e := range exclusions() {
		specs := byReason[e.reason]
		if len(specs) == 0 {
			continue
		}
		delete(byReason, e.reason)
		slices.Sort(specs)
		fmt.Fprintf(b, "\n%d: %s.\n\n", len(specs), e.reason)
		for _, s := range specs {
			fmt.Fprintf(b, "- %s\n", s)
		}
	}
}

// cell keeps text from ending a table's cell.
func cell(text string) string { return strings.ReplaceAll(text, "|", `\|`) }
