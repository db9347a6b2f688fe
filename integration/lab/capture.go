package lab

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Capture keeps the packets that pass an interface, in both directions.
type Capture struct {
	fd      int
	wake    [2]int // pipe; closing its writing end stops the reader
	done    chan struct{}
	mu      sync.Mutex
	packets [][]byte
}

// StartCapture captures IP packets (without link-layer header) on an interface
// of the namespace until [Capture.Stop].
func (ns *Namespace) StartCapture(_ context.Context, link string) (*Capture, error) {
	c := &Capture{done: make(chan struct{})}
	var index int
	err := ns.Netlink(func(h *netlink.Handle) error {
		l, err := h.LinkByName(link)
		if err == nil {
			index = l.Attrs().Index
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("capture on %s: %w", link, err)
	}
	const all = uint16(unix.ETH_P_ALL>>8 | unix.ETH_P_ALL&0xff<<8) // network order
	err = ns.Do(func() (err error) {
		c.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			return err
		}
		_ = unix.SetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8<<20)
		return unix.Bind(c.fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: index})
	})
	if err == nil {
		err = unix.Pipe2(c.wake[:], unix.O_CLOEXEC)
	}
	if err != nil {
		_ = unix.Close(c.fd)
		return nil, fmt.Errorf("capture on %s in %s: %w", link, ns.name, err)
	}
	go c.read()
	return c, nil
}

func (c *Capture) read() {
	defer close(c.done)
	buffer := make([]byte, 65536)
	for {
		ready := []unix.PollFd{{Fd: int32(c.fd), Events: unix.POLLIN}, {Fd: int32(c.wake[0]), Events: unix.POLLIN}}
		if _, err := unix.Poll(ready, -1); err != nil && !errors.Is(err, unix.EINTR) {
			return
		}
		for {
			n, _, err := unix.Recvfrom(c.fd, buffer, 0)
			if err != nil {
				break
			}
			c.mu.Lock()
			c.packets = append(c.packets, append([]byte(nil), buffer[:n]...))
			c.mu.Unlock()
		}
		if ready[1].Revents != 0 {
			return
		}
	}
}

// Stop ends the capture and returns the packets in their order.
func (c *Capture) Stop() [][]byte {
	_ = unix.Close(c.wake[1])
	<-c.done
	_ = unix.Close(c.wake[0])
	_ = unix.Close(c.fd)
	return c.packets
}
