package lab

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Stream is a steady one-way flow of numbered UDP packets that counts what is
// lost on the way.
type Stream struct {
	sender, receiver *net.UDPConn
	interval         time.Duration
	stop             chan struct{}
	sending          sync.WaitGroup
	receiving        sync.WaitGroup

	mu       sync.Mutex
	arrived  []bool // by number
	news     chan struct{}
	sent     int
	failures []error // of sending
	extra    int
	longest  time.Duration
}

// StreamStats is what became of a stream.
type StreamStats struct {
	Sent       int           // packets that the sender's kernel took
	Received   int           // different ones that arrived
	Lost       []int         // their numbers, from 0, in order
	Duplicates int           // packets that arrived more than once
	LongestGap time.Duration // between two arrivals
	// Refused are errors of sending; such packets are not in Sent.
	Refused []error
}

func (s StreamStats) String() string {
	lost := s.Lost
	if len(lost) > 5 {
		lost = lost[:5]
	}
	text := fmt.Sprintf("%d sent, %d received, %d lost", s.Sent, s.Received, len(s.Lost))
	if len(lost) > 0 {
		text += fmt.Sprintf(" (first %v)", lost)
	}
	if len(s.Refused) > 0 {
		text += fmt.Sprintf(", %d not sent: %v", len(s.Refused), s.Refused[0])
	}
	return text + fmt.Sprintf(", longest gap %s", s.LongestGap.Round(time.Millisecond))
}

// Clean says that everything was sent and arrived.
func (s StreamStats) Clean() bool {
	return s.Sent > 0 && len(s.Lost) == 0 && len(s.Refused) == 0
}

// StartStream sends from one namespace to an address of another, a packet per
// interval (0: 1 ms), until [Stream.Stop]. It returns when the first packet has
// arrived, or with an error when none does before ctx ends.
func StartStream(ctx context.Context, from, to *Namespace, dst netip.Addr, interval time.Duration) (*Stream, error) {
	if interval == 0 {
		interval = time.Millisecond
	}
	receiver, err := to.listenUDP(ctx, netip.AddrPortFrom(dst, 0), func(fd int) error {
		return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8<<20)
	})
	if err != nil {
		return nil, fmt.Errorf("stream to %s: %w", dst, err)
	}
	target := netip.MustParseAddrPort(receiver.LocalAddr().String())
	sender, err := from.dialUDP(ctx, netip.Addr{}, target, func(int) error { return nil })
	if err != nil {
		return nil, errors.Join(fmt.Errorf("stream to %s: %w", dst, err), receiver.Close())
	}
	s := &Stream{
		sender: sender, receiver: receiver, interval: interval,
		stop: make(chan struct{}), news: make(chan struct{}, 1),
	}
	s.receiving.Go(s.receive)
	s.sending.Go(s.send)
	select {
	case <-s.news:
		return s, nil
	case <-ctx.Done():
		stats := s.Stop()
		return nil, fmt.Errorf("stream to %s: %w: %s", dst, ctx.Err(), stats)
	}
}

func (s *Stream) send() {
	ticker := time.NewTicker(s.interval)
	defer ticker.Stop()
	packet := make([]byte, 64)
	for {
		select {
		case <-s.stop:
			return
		case <-ticker.C:
		}
		s.mu.Lock()
		binary.BigEndian.PutUint64(packet, uint64(s.sent))
		s.arrived = append(s.arrived, false)
		s.sent++
		s.mu.Unlock()
		if _, err := s.sender.Write(packet); err != nil {
			s.mu.Lock()
			s.sent--
			s.arrived = s.arrived[:s.sent]
			s.failures = append(s.failures, err)
			s.mu.Unlock()
		}
	}
}

func (s *Stream) receive() {
	packet := make([]byte, 2048)
	var last time.Time
	for {
		n, err := s.receiver.Read(packet)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil || n < 8 {
			continue
		}
		now := time.Now()
		s.mu.Lock()
		if number := binary.BigEndian.Uint64(packet); number < uint64(len(s.arrived)) {
			if s.arrived[number] {
				s.extra++
			}
			s.arrived[number] = true
		}
		if !last.IsZero() {
			s.longest = max(s.longest, now.Sub(last))
		}
		last = now
		s.mu.Unlock()
		select {
		case s.news <- struct{}{}:
		default:
		}
	}
}

// Stats is what is known so far; the last packets may still be on their way.
func (s *Stream) Stats() StreamStats {
	s.mu.Lock()
	defer s.mu.Unlock()
	stats := StreamStats{Sent: s.sent, Duplicates: s.extra, LongestGap: s.longest, Refused: slices.Clone(s.failures)}
	for number, ok := range s.arrived {
		if ok {
			stats.Received++
		} else {
			stats.Lost = append(stats.Lost, number)
		}
	}
	return stats
}

// Stop ends the sending, gives packets that are on their way up to five seconds to
// arrive, and closes the sockets.
func (s *Stream) Stop() StreamStats {
	close(s.stop)
	s.sending.Wait()
	_ = s.sender.Close()
	patience := time.NewTimer(5 * time.Second)
	defer patience.Stop()
	for len(s.Stats().Lost) > 0 {
		select {
		case <-s.news:
			continue
		case <-patience.C:
		}
		break
	}
	_ = s.receiver.Close()
	s.receiving.Wait()
	return s.Stats()
}
