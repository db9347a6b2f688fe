package health

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ropeway-net/ropeway/statedir"
)

// counting starts to count the requests of a state directory.
func counting(t *testing.T) (*Metrics, statedir.Dir) {
	t.Helper()
	dir := statedir.Dir(filepath.Join(t.TempDir(), "state"))
	m := NewMetrics("v0")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- m.CountRequests(ctx, dir.RequestsSocket()) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(dir.RequestsSocket()); err == nil {
			t.Error("the socket stays behind")
		}
	})
	until(t, "the socket", func() bool {
		info, err := os.Stat(dir.RequestsSocket())
		return err == nil && info.Mode().Perm() == 0o600
	})
	return m, dir
}

func requests(t *testing.T, m *Metrics, verb, code string) float64 {
	t.Helper()
	return figuresOf(t, m)[fmt.Sprintf("ropeway_cni_requests_total{code=%q,verb=%q}", code, verb)]
}

func TestRequestsAreCountedByVerbAndCode(t *testing.T) {
	m, dir := counting(t)
	dir.Report(statedir.Request{Verb: "ADD", Took: 12 * time.Millisecond})
	dir.Report(statedir.Request{Verb: "ADD", Code: 11, Took: time.Second})
	dir.Report(statedir.Request{Verb: "DEL", Code: 4000, Took: time.Second})
	until(t, "the count", func() bool { return requests(t, m, "DEL", "other") == 1 })
	for _, code := range []string{"0", "11"} {
		if n := requests(t, m, "ADD", code); n != 1 {
			t.Errorf("ADD with code %s: %v", code, n)
		}
	}
}

func TestFloodOfReportsMakesNoFiguresAndIsSurvived(t *testing.T) {
	m, dir := counting(t)
	before := len(figuresOf(t, m))
	c, err := net.Dial("unixgram", dir.RequestsSocket())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for n := range 500 {
		for _, bad := range []string{fmt.Sprintf("ropeway/1 VERB%d 0 1", n), strings.Repeat("x", 60_000), ""} {
			_, _ = c.Write([]byte(bad)) // some are dropped
		}
	}
	until(t, "a good one among them", func() bool {
		dir.Report(statedir.Request{Verb: "GC", Code: 114})
		return requests(t, m, "GC", "114") > 0
	})
	if n := len(figuresOf(t, m)); n != before+1 {
		t.Errorf("%d figures, before the flood %d", n, before)
	}
	if figuresOf(t, m)["ropeway_cni_bad_reports_total"] == 0 {
		t.Error("nothing was refused")
	}
}
