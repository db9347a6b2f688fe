package status

import (
	"context"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/ropeway-net/ropeway/daemon/topology"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func serve(t *testing.T, path string, r Report) {
	t.Helper()
	l, err := Listen(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- Serve(ctx, l, func() Report { return r }) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestFetchReturnsWhatIsServed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state", "d.sock")
	want := Report{
		Node: "n1", Mode: topology.VXLAN, Reason: "waiting", Drift: map[string]int{"route": 2}, Problems: []string{"x"},
		Last: Pass{Time: time.Unix(1, 0).UTC(), Duration: time.Second, Operations: 3},
	}
	serve(t, path, want)
	got, err := Fetch(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, want 0600", info.Mode())
	}
}

func TestSocketIsReadOnly(t *testing.T) {
	path := filepath.Join(t.TempDir(), "d.sock")
	serve(t, path, Report{})
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", path)
	}}}
	r, err := client.Post("http://d/status", "text/plain", strings.NewReader("x"))
	if err != nil {
		t.Fatal(err)
	}
	r.Body.Close()
	if r.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("POST was answered %s", r.Status)
	}
}

func TestListenReplacesASocketLeftBehind(t *testing.T) {
	path := filepath.Join(t.TempDir(), "d.sock")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	if _, err := Fetch(t.Context(), path); err == nil || !strings.Contains(err.Error(), "does not run") {
		t.Errorf("error %v, want one that says that the daemon does not run", err)
	}
	serve(t, path, Report{Node: "n1"})
	if r, err := Fetch(t.Context(), path); err != nil || r.Node != "n1" {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestListenNamesAPathThatIsTooLong(t *testing.T) {
	_, err := Listen(t.Context(), filepath.Join(t.TempDir(), strings.Repeat("x", 120)))
	if err == nil || !strings.Contains(err.Error(), "shorter stateDir") {
		t.Errorf("error %v", err)
	}
}
