package health

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/netutil"
)

const (
	// answerTime bounds one answer; the kubelet gives up after a second
	// unless it is told otherwise.
	answerTime = 10 * time.Second
	// mostConnections leaves the daemon its file descriptors, whoever connects.
	mostConnections = 64
	// crowded is the number of connections beyond which idle ones are closed.
	crowded    = 32
	firstRetry = time.Second
	lastRetry  = 30 * time.Second
)

// Server answers on one address.
type Server struct {
	Address string // literal address and port; see [CheckAddress]
	View    View
	Metrics *Metrics
	Log     *slog.Logger

	mu      sync.Mutex
	failure string
}

// Problem says why nobody can ask on the address; empty if one can.
func (s *Server) Problem() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failure
}

// Run answers until ctx ends. An address that cannot be had, because another
// program has it or the interface is not there yet, is tried again and again;
// the daemon does its work meanwhile.
func (s *Server) Run(ctx context.Context) {
	for retry := firstRetry; ; retry = min(2*retry, lastRetry) {
		err := s.serve(ctx)
		if ctx.Err() != nil {
			return
		}
		s.failed(err)
		select {
		case <-ctx.Done():
			return
		case <-time.After(retry):
		}
	}
}

// failed tells each failure once.
func (s *Server) failed(err error) {
	text := ""
	if err != nil {
		text = fmt.Sprintf("health and metrics are not served: %v; free the address or choose another healthAddress", err)
	}
	s.mu.Lock()
	before := s.failure
	s.failure = text
	s.mu.Unlock()
	switch {
	case text != "" && text != before:
		s.Log.Error("health and metrics are not served, trying again", "cause", err.Error())
	case text == "" && before != "":
		s.Log.Info("health and metrics are served", "address", s.Address)
	}
}

func (s *Server) serve(ctx context.Context) error {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", s.Address)
	if err != nil {
		return err
	}
	s.failed(nil)
	server := &http.Server{
		Handler:           s.handler(),
		ReadTimeout:       answerTime,
		ReadHeaderTimeout: answerTime,
		WriteTimeout:      2 * answerTime,
		IdleTimeout:       2 * time.Minute, // longer than most scrape intervals
		MaxHeaderBytes:    8 << 10,
		ConnState:         newCrowd(crowded).changed,
		ErrorLog:          slog.NewLogLogger(s.Log.Handler(), slog.LevelDebug), // strangers' mistakes
	}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.Serve(netutil.LimitListener(l, mostConnections)); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// handler answers GET and HEAD on three paths and refuses everything else.
func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", s.healthz)
	mux.HandleFunc("GET /readyz", s.readyz)
	mux.Handle("GET /metrics", s.Metrics.handler(s.View))
	return mux
}

func (s *Server) healthz(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), answerTime)
	defer cancel()
	plain(w)
	if err := s.View.Alive(ctx); err != nil {
		w.WriteHeader(http.StatusServiceUnavailable)
		fmt.Fprintln(w, err)
		return
	}
	_, _ = io.WriteString(w, "ok\n")
}

func (s *Server) readyz(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), answerTime)
	defer cancel()
	answer := s.View.ready(ctx)
	write := answer.writeText
	if plain(w); strings.Contains(r.Header.Get("Accept"), "application/json") {
		w.Header().Set("Content-Type", "application/json")
		write = answer.writeJSON
	}
	if !answer.Ready {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	write(w)
}

// plain keeps a browser from taking an answer, in which names of others stand,
// for anything but text.
func plain(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cache-Control", "no-store")
}
