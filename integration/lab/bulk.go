package lab

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"
)

// BulkServer takes TCP streams and answers each, at its end, with the number of
// bytes it took.
type BulkServer struct {
	Addr     netip.AddrPort
	listener net.Listener
	running  sync.WaitGroup
	mu       sync.Mutex
	open     map[net.Conn]struct{}
}

// ServeBulk starts a server in the namespace; port 0 takes a free one.
func (ns *Namespace) ServeBulk(ctx context.Context, address netip.AddrPort) (*BulkServer, error) {
	listener, err := ns.Listen(ctx, "tcp", address.String())
	if err != nil {
		return nil, err
	}
	s := &BulkServer{
		Addr:     netip.MustParseAddrPort(listener.Addr().String()),
		listener: listener,
		open:     map[net.Conn]struct{}{},
	}
	s.running.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			s.open[conn] = struct{}{}
			s.mu.Unlock()
			s.running.Go(func() { s.take(conn) })
		}
	})
	return s, nil
}

func (s *BulkServer) take(conn net.Conn) {
	defer func() {
		_ = conn.Close()
		s.mu.Lock()
		delete(s.open, conn)
		s.mu.Unlock()
	}()
	buffer := make([]byte, 256<<10)
	var total uint64
	for {
		n, err := conn.Read(buffer)
		total += uint64(n)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return
		}
	}
	_, _ = conn.Write(binary.BigEndian.AppendUint64(nil, total))
}

// Close ends the server and its connections.
func (s *BulkServer) Close() error {
	err := s.listener.Close()
	s.mu.Lock()
	for conn := range s.open {
		_ = conn.Close()
	}
	s.mu.Unlock()
	s.running.Wait()
	return err
}

// Transfer is a finished bulk transfer.
type Transfer struct {
	Bytes    uint64
	Duration time.Duration // first byte sent to last byte acknowledged by the server
}

// BitsPerSecond is the throughput.
func (t Transfer) BitsPerSecond() float64 { return float64(t.Bytes) * 8 / t.Duration.Seconds() }

// SendBulk sends to a [BulkServer] from the namespace for about the given time.
// It fails unless every byte has arrived.
func (ns *Namespace) SendBulk(ctx context.Context, server netip.AddrPort, length time.Duration) (Transfer, error) {
	c, err := ns.Dial(ctx, "tcp", server.String())
	if err != nil {
		return Transfer{}, err
	}
	conn := c.(*net.TCPConn)
	defer func() { _ = conn.Close() }()
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()

	buffer := make([]byte, 256<<10)
	var sent uint64
	start := time.Now()
	for time.Since(start) < length {
		n, err := conn.Write(buffer)
		sent += uint64(n)
		if err != nil {
			return Transfer{}, fmt.Errorf("after %d bytes: %w", sent, err)
		}
	}
	if err := conn.CloseWrite(); err != nil {
		return Transfer{}, err
	}
	var answer [8]byte
	if _, err := io.ReadFull(conn, answer[:]); err != nil {
		return Transfer{}, fmt.Errorf("after %d bytes: %w", sent, err)
	}
	t := Transfer{Bytes: binary.BigEndian.Uint64(answer[:]), Duration: time.Since(start)}
	if t.Bytes != sent {
		return t, fmt.Errorf("%d bytes were sent and %d arrived", sent, t.Bytes)
	}
	return t, nil
}
