package health

import (
	"strconv"
	"strings"
	"testing"

	"github.com/ropeway-net/ropeway/daemon/status"
)

// figures are the samples of a scrape, by name and labels as they are printed.
type figures map[string]float64

func scrape(t *testing.T, s *Server) figures {
	t.Helper()
	w := ask(s, "GET", "/metrics", "text/plain")
	if w.Code != 200 {
		t.Fatalf("/metrics: %d %s", w.Code, w.Body)
	}
	out := figures{}
	for line := range strings.Lines(w.Body.String()) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		cut := strings.LastIndex(line, " ")
		value, err := strconv.ParseFloat(strings.TrimSpace(line[cut+1:]), 64)
		if err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		out[line[:cut]] = value
	}
	return out
}

// figuresOf are those of the process alone.
func figuresOf(t *testing.T, m *Metrics) figures {
	t.Helper()
	s := server(t, status.Report{}, nil)
	s.Metrics = m
	return scrape(t, s)
}
