package status

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// maxSocketPath is what fits into the kernel's sockaddr_un.
const maxSocketPath = 107

// Listen makes the local socket, mode 0600, in place of one that an earlier
// daemon left behind. The caller makes sure that no other daemon runs.
func Listen(ctx context.Context, path string) (net.Listener, error) {
	if len(path) > maxSocketPath {
		return nil, fmt.Errorf("status socket %s: the path is longer than %d bytes; choose a shorter stateDir", path, maxSocketPath)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("status socket: %w", err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("status socket: %w", err)
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("status socket: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("status socket: %w", err), l.Close())
	}
	return l, nil
}

// Serve answers GET /status with the report until ctx ends, and closes the
// listener.
func Serve(ctx context.Context, l net.Listener, report func() Report) error {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		_ = enc.Encode(report()) // the client went away
	})
	server := &http.Server{Handler: mux, ReadTimeout: 5 * time.Second, WriteTimeout: 10 * time.Second}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve status: %w", err)
	}
	return nil
}

// Fetch asks the daemon behind the socket.
func Fetch(ctx context.Context, socket string) (Report, error) {
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		},
	}}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://ropewayd/status", nil)
	if err != nil {
		return Report{}, err
	}
	response, err := client.Do(request)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return Report{}, fmt.Errorf("ropewayd does not run here: nobody listens on %s; start it, or give its state directory with --state-dir", socket)
	case errors.Is(err, fs.ErrPermission):
		return Report{}, fmt.Errorf("status of ropewayd: %s may be opened by root alone; use sudo", socket)
	case err != nil:
		return Report{}, fmt.Errorf("status of ropewayd: %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return Report{}, fmt.Errorf("status of ropewayd: it answered %s; do ropewayctl and ropewayd have the same version?", response.Status)
	}
	var r Report
	if err := json.NewDecoder(response.Body).Decode(&r); err != nil {
		return Report{}, fmt.Errorf("status of ropewayd: %w", err)
	}
	return r, nil
}
