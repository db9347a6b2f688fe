package kernel

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ethtool is a socket through which ethtool's requests are made.
type ethtool struct{ fd int }

// withEthtool calls f with a socket in the connection's namespace.
func (c *conn) withEthtool(f func(ethtool) error) error {
	return c.inNamespace(func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if errors.Is(err, unix.EAFNOSUPPORT) {
			fd, err = unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		}
		if err != nil {
			return fmt.Errorf("open socket for ethtool: %w", err)
		}
		defer unix.Close(fd)
		return f(ethtool{fd})
	})
}

// value makes a request that takes or gives one number (struct ethtool_value).
func (e ethtool) value(link string, command, value uint32) (uint32, error) {
	request := struct{ command, value uint32 }{command, value}
	var ifreq struct {
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		_    [16]byte // the kernel copies the whole union
	}
	copy(ifreq.name[:unix.IFNAMSIZ-1], link)
	ifreq.data = unsafe.Pointer(&request)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(e.fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&ifreq))); errno != 0 {
		return 0, errno
	}
	return request.value, nil
}

// txChecksum says whether a link's checksums are computed later, "" if it
// cannot be known.
func (e ethtool) txChecksum(link string) Offload {
	on, err := e.value(link, unix.ETHTOOL_GTXCSUM, 0)
	switch {
	case err != nil:
		return ""
	case on != 0:
		return OffloadOn
	}
	return OffloadOff
}

// driver names a device's driver, "" if it does not say.
func (e ethtool) driver(link string) string {
	info, err := unix.IoctlGetEthtoolDrvinfo(e.fd, link)
	if err != nil {
		return ""
	}
	return unix.ByteSliceToString(info.Driver[:])
}

// readOffloads completes what is known of tunnel devices and of the hardware
// below interfaces.
func (c *conn) readOffloads(_ context.Context, r *reading) error {
	return c.withEthtool(func(e ethtool) error {
		for name, link := range r.snapshot.State.Links {
			if link.Kind == VXLAN {
				link.TxChecksum = e.txChecksum(name)
				r.snapshot.State.Links[name] = link
			}
		}
		for index, i := range r.interfaces {
			i.Drivers = strings.Join(r.drivers(e, index, 0), ",")
		}
		return nil
	})
}

// mostStacked bounds how deep interfaces are stacked: VLAN on a bond on two NICs
// are three.
const mostStacked = 4

// drivers returns the sorted drivers of the hardware below an interface.
func (r *reading) drivers(e ethtool, index, depth int) []string {
	i, ok := r.interfaces[index]
	if !ok || depth == mostStacked {
		return nil
	}
	if i.Kind == "" {
		if driver := e.driver(i.Name); driver != "" {
			return []string{driver}
		}
		return nil
	}
	var found []string
	for _, below := range r.below[index] {
		found = append(found, r.drivers(e, below, depth+1)...)
	}
	slices.Sort(found)
	return slices.Compact(found)
}

// setTxChecksum forgives a device whose checksums cannot be switched.
func (a *application) setTxChecksum(link string, to Offload) error {
	return a.conn.withEthtool(func(e ethtool) error {
		on := uint32(0)
		if to == OffloadOn {
			on = 1
		}
		_, err := e.value(link, unix.ETHTOOL_STXCSUM, on)
		if errors.Is(err, unix.EOPNOTSUPP) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("switch %s checksum offload: %w", to, err)
		}
		return nil
	})
}
