package health

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/time/rate"

	"github.com/ropeway-net/ropeway/statedir"
)

// mostRequests bounds the reports that are read in a second, and so the CPU
// that whoever floods the socket can take; the others are dropped by the kernel
// where they are sent.
const mostRequests = 1000

// CountRequests listens on the socket on which plugins report, mode 0600, and
// counts until ctx ends. It replaces a socket that an earlier daemon left; the
// caller makes sure that no other daemon runs.
func (m *Metrics) CountRequests(ctx context.Context, socket string) error {
	conn, err := listenRequests(ctx, socket)
	if err != nil {
		return fmt.Errorf("reports of CNI requests: %w", err)
	}
	defer func() {
		_ = os.Remove(socket)
		_ = conn.Close()
	}()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() }) // which ends the reading
	defer stop()
	limit := rate.NewLimiter(mostRequests, mostRequests)
	buf := make([]byte, statedir.MaxRequest+1) // one more, to see what is too long
	for limit.Wait(ctx) == nil {
		n, _, err := conn.ReadFrom(buf)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("reports of CNI requests: %w", err)
		case err != nil:
			m.badReports.Inc() // and on: such as a lack of memory, which passes
			continue
		}
		m.count(buf[:n])
	}
	return nil
}

func listenRequests(ctx context.Context, socket string) (net.PacketConn, error) {
	if err := os.MkdirAll(filepath.Dir(socket), 0o755); err != nil {
		return nil, err
	}
	if err := os.Remove(socket); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	conn, err := (&net.ListenConfig{}).ListenPacket(ctx, "unixgram", socket)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(socket, 0o600); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return conn, nil
}

func (m *Metrics) count(report []byte) {
	r, err := statedir.ParseRequest(report)
	if err != nil {
		m.badReports.Inc()
		return
	}
	m.requests.WithLabelValues(r.Verb, codeLabel(r.Code)).Inc()
	m.requestDurations.WithLabelValues(r.Verb).Observe(r.Took.Seconds())
}

// codeLabel is the code where the CNI specification or docs/errors.md has one;
// a plugin that invents more does not make more figures.
func codeLabel(code uint) string {
	switch {
	case code <= 11, code == 50, code == 51, 100 <= code && code < 120, code == 999:
		return strconv.FormatUint(uint64(code), 10)
	default:
		return "other"
	}
}
