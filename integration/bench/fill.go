package main

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// fill makes so many reservations in host-local's layout, which is every
// contender's, by pods of the past. The next address is the one after them.
func fill(dir, prefix string, count int) error {
	if count == 0 {
		return nil
	}
	p, err := netip.ParsePrefix(prefix)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	addr := p.Addr()
	for range 9 { // the node's own are among the first
		addr = addr.Next()
	}
	for i := range count {
		addr = addr.Next()
		if !p.Contains(addr) {
			return fmt.Errorf("%s has no room for %d reservations", prefix, count)
		}
		holder := containerID(1<<32+i) + "\r\n" + podLink
		if err := os.WriteFile(filepath.Join(dir, addr.String()), []byte(holder), 0o600); err != nil {
			return err
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "last_reserved_ip.0"), []byte(addr.String()), 0o600); err != nil {
		return err
	}
	return syncFilesystem(dir)
}

// syncFilesystem writes out what is pending, so that no contender's fsync has
// to do it.
func syncFilesystem(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.Syncfs(int(f.Fd()))
}
