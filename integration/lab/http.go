package lab

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"time"
)

// HTTPServer answers every request with the address that it came from.
type HTTPServer struct {
	Addr     netip.AddrPort
	listener net.Listener
	server   *http.Server
	done     chan struct{}
}

// ServeHTTP starts a server in the namespace; port 0 takes a free one.
func (ns *Namespace) ServeHTTP(ctx context.Context, address netip.AddrPort) (*HTTPServer, error) {
	listener, err := ns.Listen(ctx, "tcp", address.String())
	if err != nil {
		return nil, err
	}
	s := &HTTPServer{
		Addr:     netip.MustParseAddrPort(listener.Addr().String()),
		listener: listener,
		done:     make(chan struct{}),
		server: &http.Server{
			ReadHeaderTimeout: 10 * time.Second,
			Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.WriteString(w, r.RemoteAddr)
			}),
		},
	}
	go func() {
		defer close(s.done)
		_ = s.server.Serve(listener) // returns when closed
	}()
	return s, nil
}

// Close ends the server and its connections.
func (s *HTTPServer) Close() error {
	err := s.server.Close()
	<-s.done
	return err
}

// HTTPAnswer is what became of a request.
type HTTPAnswer struct {
	Source   netip.Addr    // the client as the server saw it
	Duration time.Duration // connection set-up to last byte
}

// GetHTTP sends a request from the namespace to an [HTTPServer], on a
// connection of its own.
func (ns *Namespace) GetHTTP(ctx context.Context, server netip.AddrPort) (HTTPAnswer, error) {
	transport := &http.Transport{DialContext: ns.Dial, DisableKeepAlives: true}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+server.String()+"/", nil)
	if err != nil {
		return HTTPAnswer{}, err
	}
	start := time.Now()
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return HTTPAnswer{}, err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return HTTPAnswer{}, err
	}
	seen, err := netip.ParseAddrPort(string(body))
	if err != nil {
		return HTTPAnswer{}, fmt.Errorf("answer of %s: %w", server, err)
	}
	return HTTPAnswer{Source: seen.Addr().Unmap(), Duration: time.Since(start)}, nil
}
