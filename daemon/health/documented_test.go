package health

import (
	"context"
	"encoding/json"
	"maps"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ropeway-net/ropeway/daemon/probe"
	"github.com/ropeway-net/ropeway/daemon/status"
	"github.com/ropeway-net/ropeway/ipam"
)

// metric is one as Prometheus sees it.
type metric struct {
	Type   string
	Labels []string // sorted, without le
}

var sample = regexp.MustCompile(`^([a-z0-9_]+)(?:\{(.*)\})? `)
var labelName = regexp.MustCompile(`([a-z_]+)="`)

// shown are all metrics of a daemon that knows everything.
func shown(t *testing.T) map[string]metric {
	t.Helper()
	r := healthy()
	r.Objects = map[string]status.Objects{"route": {Desired: 3, Actual: 2}}
	r.Reachability = &status.Reachability{Probed: 1}
	s := server(t, r, nil)
	s.View.Addresses = func(context.Context) ([]ipam.Usage, error) {
		return []ipam.Usage{
			{RangeSet: ipam.RangeSet{{Subnet: netip.MustParsePrefix("10.0.0.0/24")}}, Used: 4, Total: 254},
			{RangeSet: ipam.RangeSet{{Subnet: netip.MustParsePrefix("fd00::/64")}}, Used: 4, Total: 1 << 63},
		}, nil
	}
	s.Metrics.Passed(status.Pass{Duration: time.Millisecond, Repaired: map[string]int{"route": 1}, Error: "x"})
	s.Metrics.Probed(probe.Answered, time.Millisecond)
	s.Metrics.count([]byte("ropeway/1 ADD 0 1000"))
	body := ask(s, "GET", "/metrics", "text/plain").Body.String()
	types := map[string]string{}
	out := map[string]metric{}
	for line := range strings.Lines(body) {
		if text, ok := strings.CutPrefix(line, "# TYPE "); ok {
			name, kind, _ := strings.Cut(strings.TrimSpace(text), " ")
			types[name] = kind
			continue
		}
		found := sample.FindStringSubmatch(line)
		if found == nil {
			continue
		}
		name := found[1]
		for _, suffix := range []string{"_bucket", "_sum", "_count"} {
			if base := strings.TrimSuffix(name, suffix); types[base] == "histogram" || types[base] == "summary" {
				name = base
			}
		}
		labels := slices.Clone(out[name].Labels)
		for _, l := range labelName.FindAllStringSubmatch(found[2], -1) {
			if l[1] != "le" && l[1] != "quantile" && !slices.Contains(labels, l[1]) {
				labels = append(labels, l[1])
			}
		}
		slices.Sort(labels)
		out[name] = metric{types[name], labels}
	}
	return out
}

func TestEveryMetricIsDocumented(t *testing.T) {
	b, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	row := regexp.MustCompile("(?m)^\\| `(ropeway_[a-z0-9_]+)` \\| ([a-z]+) \\|([^|]*)\\|")
	documented := map[string]metric{}
	for _, found := range row.FindAllStringSubmatch(string(b), -1) {
		var labels []string
		for _, l := range regexp.MustCompile("`([a-z]+)`").FindAllStringSubmatch(found[3], -1) {
			labels = append(labels, l[1])
		}
		slices.Sort(labels)
		documented[found[1]] = metric{found[2], labels}
	}
	own := shown(t)
	maps.DeleteFunc(own, func(name string, _ metric) bool { return !strings.HasPrefix(name, "ropeway_") })
	if diff := cmp.Diff(own, documented); diff != "" {
		t.Errorf("docs/metrics.md (-shown +documented):\n%s", diff)
	}
}

func TestMetricsAreNamedAsPrometheusWantsThem(t *testing.T) {
	for name, m := range shown(t) {
		if !strings.HasPrefix(name, "ropeway_") {
			continue
		}
		if total := strings.HasSuffix(name, "_total"); total != (m.Type == "counter") {
			t.Errorf("%s is a %s", name, m.Type)
		}
		if m.Type == "histogram" && !strings.HasSuffix(name, "_seconds") {
			t.Errorf("%s has no unit", name)
		}
	}
}

// expressions of a dashboard, wherever they stand in it.
func expressions(v any) []string {
	var out []string
	switch v := v.(type) {
	case map[string]any:
		for key, value := range v {
			text, isText := value.(string)
			if isText && (key == "expr" || key == "query" && text != "prometheus" || key == "definition") {
				out = append(out, text)
			}
			out = append(out, expressions(value)...)
		}
	case []any:
		for _, value := range v {
			out = append(out, expressions(value)...)
		}
	}
	return out
}

func TestDashboardShowsWhatExists(t *testing.T) {
	b, err := os.ReadFile("../../manifests/grafana/ropeway.json")
	if err != nil {
		t.Fatal(err)
	}
	var dashboard any
	if err := json.Unmarshal(b, &dashboard); err != nil {
		t.Fatal(err)
	}
	exist := shown(t)
	used := map[string]bool{}
	all := expressions(dashboard)
	if len(all) < 20 {
		t.Fatalf("found %d expressions", len(all))
	}
	for _, expr := range all {
		for _, complaint := range doubts(expr, exist, used) {
			t.Errorf("%s: %s", expr, complaint)
		}
	}
	if len(used) < 15 {
		t.Errorf("it shows only %v", slices.Sorted(maps.Keys(used)))
	}
}

var (
	metricName = regexp.MustCompile(`\b((?:ropeway|process|go)_[a-z0-9_]+)(?:\{([^}]*)\})?`)
	selector   = regexp.MustCompile(`([a-z_]+)\s*[=!]`)
	grouping   = regexp.MustCompile(`\b(?:by|on) \(([^)]*)\)`)
)

// doubts names the metrics and labels that do not exist. Prometheus
// itself adds instance.
func doubts(expr string, exist map[string]metric, used map[string]bool) []string {
	var complaints []string
	labels := []string{"instance"}
	for _, found := range metricName.FindAllStringSubmatch(expr, -1) {
		name := found[1]
		m, ok := exist[name]
		if base, bucket := strings.CutSuffix(name, "_bucket"); !ok && bucket && exist[base].Type == "histogram" {
			m, ok = exist[base], true
			m.Labels = append(slices.Clone(m.Labels), "le")
		}
		if !ok {
			complaints = append(complaints, name+" does not exist")
			continue
		}
		used[name] = true
		labels = append(labels, m.Labels...)
		for _, l := range selector.FindAllStringSubmatch(found[2], -1) {
			if l[1] != "instance" && !slices.Contains(m.Labels, l[1]) {
				complaints = append(complaints, name+" has no label "+l[1])
			}
		}
	}
	for _, found := range grouping.FindAllStringSubmatch(expr, -1) {
		for l := range strings.SplitSeq(found[1], ",") {
			if l = strings.TrimSpace(l); !slices.Contains(labels, l) {
				complaints = append(complaints, "none of its metrics has the label "+l)
			}
		}
	}
	return complaints
}

func TestExpressionOfWhatDoesNotExistIsRefused(t *testing.T) {
	exist := map[string]metric{"ropeway_a": {"gauge", []string{"x"}}, "ropeway_h_seconds": {"histogram", nil}}
	for expr, good := range map[string]bool{
		`sum by (x) (ropeway_a{x="1", instance="i"})`:      true,
		`sum by (le) (rate(ropeway_h_seconds_bucket[5m]))`: true,
		`ropeway_b`:                  false,
		`ropeway_a{y="1"}`:           false,
		`sum by (y) (ropeway_a)`:     false,
		`sum by (le) (ropeway_a)`:    false,
		`ropeway_a_bucket`:           false,
		`rate(process_none_total[])`: false,
	} {
		if got := len(doubts(expr, exist, map[string]bool{})) == 0; got != good {
			t.Errorf("%s: accepted %t", expr, got)
		}
	}
}
