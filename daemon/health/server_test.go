package health

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/ropeway-net/ropeway/daemon/status"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what must come true.
const patience = 10 * time.Second

func healthy() status.Report {
	return status.Report{Node: "n1", Ready: true, Nodes: status.Nodes{Count: 2, Origin: "nodes file"}, Last: status.Pass{Time: time.Unix(1, 0)}}
}

// server shows a report and says that the loop is as given.
func server(t *testing.T, r status.Report, loop error) *Server {
	t.Helper()
	return &Server{
		View: View{
			Report: func() status.Report { return r },
			Alive:  func(context.Context) error { return loop },
		},
		Metrics: NewMetrics("v0"),
		Log:     slog.New(slog.NewTextHandler(t.Output(), nil)),
	}
}

func ask(s *Server, method, path, accept string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	r := httptest.NewRequest(method, path, nil)
	r.Header.Set("Accept", accept)
	s.handler().ServeHTTP(w, r)
	return w
}

func TestReadinessNamesEachCheck(t *testing.T) {
	damaged := healthy()
	damaged.Ready, damaged.Reason = false, "add route: no\nand another"
	starting := status.Report{Reason: "waiting for the list of nodes"}
	sourceAway := healthy()
	sourceAway.Nodes.Error = "connection refused"
	tests := []struct {
		name   string
		report status.Report
		loop   error
		code   int
		want   string
	}{
		{"all is well", healthy(), nil, 200, "[+]loop ok\n[+]nodes ok\n[+]kernel ok\nready\n"},
		{"the kernel differs", damaged, nil, 503, "[+]loop ok\n[+]nodes ok\n[-]kernel failed: add route: no; and another\nnot ready\n"},
		{"no nodes yet", starting, nil, 503, "[+]loop ok\n[-]nodes failed: waiting for the list of nodes\n[-]kernel failed: not looked at yet\nnot ready\n"},
		{"the source is away", sourceAway, nil, 200, "[+]loop ok\n[+]nodes ok\n[+]kernel ok\nready\n"},
		{"the loop is stuck", healthy(), errors.New("stuck"), 503, "[-]loop failed: stuck\n[+]nodes ok\n[+]kernel ok\nnot ready\n"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			w := ask(server(t, tc.report, tc.loop), "GET", "/readyz?verbose", "*/*")
			if w.Code != tc.code {
				t.Errorf("code %d, want %d", w.Code, tc.code)
			}
			if diff := cmp.Diff(tc.want, w.Body.String()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestReadinessSpeaksJSONToThoseWhoAsk(t *testing.T) {
	r := healthy()
	r.Ready, r.Reason = false, "no"
	w := ask(server(t, r, nil), "GET", "/readyz", "application/json")
	want := `{"ready":false,"checks":[{"name":"loop","ok":true},{"name":"nodes","ok":true},{"name":"kernel","ok":false,"cause":"no"}]}` + "\n"
	if diff := cmp.Diff(want, w.Body.String()); diff != "" || w.Code != 503 {
		t.Errorf("code %d (-want +got):\n%s", w.Code, diff)
	}
}

func TestHealthDependsOnTheLoopAlone(t *testing.T) {
	if w := ask(server(t, status.Report{}, nil), "GET", "/healthz", ""); w.Code != 200 || w.Body.String() != "ok\n" {
		t.Errorf("not ready, but alive: %d %q", w.Code, w.Body)
	}
	if w := ask(server(t, healthy(), errors.New("stuck for 3m")), "GET", "/healthz", ""); w.Code != 503 || !strings.Contains(w.Body.String(), "stuck for 3m") {
		t.Errorf("stuck: %d %q", w.Code, w.Body)
	}
}

func TestNothingButReadingIsAnswered(t *testing.T) {
	s := server(t, healthy(), nil)
	for _, tc := range []struct {
		method, path string
		code         int
	}{
		{"GET", "/metrics", 200},
		{"HEAD", "/healthz", 200},
		{"HEAD", "/metrics", 200},
		{"POST", "/healthz", 405},
		{"DELETE", "/readyz", 405},
		{"PUT", "/metrics", 405},
		{"OPTIONS", "/metrics", 405},
		{"GET", "/", 404},
		{"GET", "/debug/pprof/", 404},
		{"GET", "/metrics/", 404},
	} {
		if w := ask(s, tc.method, tc.path, ""); w.Code != tc.code {
			t.Errorf("%s %s: %d, want %d", tc.method, tc.path, w.Code, tc.code)
		}
	}
}

func TestAddressIsLiteralOrNone(t *testing.T) {
	for _, good := range []string{"", "127.0.0.1:9114", "[::1]:9114", "0.0.0.0:80", "[fe80::1%eth0]:9114"} {
		if err := CheckAddress(good); err != nil {
			t.Error(err)
		}
	}
	for _, bad := range []string{"localhost:9114", ":9114", "127.0.0.1", "127.0.0.1:0", "127.0.0.1:x", "127.0.0.1:70000", "9114"} {
		if CheckAddress(bad) == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}

// until waits for what must come true.
func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s did not come true", what)
		}
	}
}

func TestConnectionsThatAreOnlyHeldKeepNobodyOut(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := server(t, healthy(), nil)
	s.Address = l.Addr().String()
	_ = l.Close()
	ctx, cancel := context.WithCancel(t.Context())
	stopped := make(chan struct{})
	go func() { defer close(stopped); s.Run(ctx) }()
	defer func() { cancel(); <-stopped }()
	for n := range 2 * mostConnections {
		var conn net.Conn
		until(t, "a connection", func() bool { conn, err = net.Dial("tcp", s.Address); return err == nil })
		defer conn.Close()
		if n%2 == 0 { // half of them ask once, the others never
			if _, err = io.WriteString(conn, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
				t.Fatal(err)
			}
		}
	}
	client := http.Client{Timeout: patience / 2, Transport: &http.Transport{DisableKeepAlives: true}} // sooner than idle ones end
	answer, err := client.Get("http://" + s.Address + "/healthz")
	if err != nil {
		t.Fatal(err)
	}
	_ = answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		t.Errorf("code %d", answer.StatusCode)
	}
}

func TestBusyAddressIsAProblemUntilItIsFree(t *testing.T) {
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := server(t, healthy(), nil)
	s.Address = l.Addr().String()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { s.Run(ctx); close(done) }()
	defer func() { cancel(); <-done }()

	until(t, "the problem", func() bool { return strings.Contains(s.Problem(), s.Address) })
	if !strings.Contains(s.Problem(), "healthAddress") {
		t.Errorf("no remedy in %q", s.Problem())
	}
	if err = l.Close(); err != nil {
		t.Fatal(err)
	}
	until(t, "the answer", func() bool { return s.Problem() == "" })
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	r, err := client.Get("http://" + s.Address + "/healthz")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if b, err := io.ReadAll(r.Body); err != nil || string(b) != "ok\n" {
		t.Errorf("%q, %v", b, err)
	}
}
