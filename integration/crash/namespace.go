package crash

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/ropeway-net/ropeway/integration/lab"
)

// Namespace is a network namespace that is pinned by a file.
type Namespace struct {
	*lab.Namespace
	Path string
}

// NewNamespace makes a namespace with its loopback up, pinned by a new file.
func NewNamespace(path string) (_ *Namespace, err error) {
	if err = os.WriteFile(path, nil, 0o600); err != nil {
		return nil, err
	}
	made := make(chan error)
	go func() {
		runtime.LockOSThread() // the thread ends with the goroutine
		failure := unix.Unshare(unix.CLONE_NEWNET)
		if failure == nil {
			failure = unix.Mount("/proc/thread-self/ns/net", path, "", unix.MS_BIND, "")
		}
		made <- failure
	}()
	if err = <-made; err != nil {
		return nil, errors.Join(fmt.Errorf("make a network namespace: %w; are you root?", err), os.Remove(path))
	}
	borrowed, err := lab.Borrow(path)
	if err != nil {
		return nil, errors.Join(err, unpin(path))
	}
	ns := &Namespace{borrowed, path}
	err = ns.Netlink(func(h *netlink.Handle) error {
		lo, lookup := h.LinkByName("lo")
		if lookup != nil {
			return lookup
		}
		return h.LinkSetUp(lo)
	})
	if err != nil {
		return nil, errors.Join(err, ns.Close())
	}
	return ns, nil
}

// Close removes the namespace.
func (ns *Namespace) Close() error {
	ns.Release()
	return unpin(ns.Path)
}

func unpin(path string) error {
	return errors.Join(unix.Unmount(path, unix.MNT_DETACH), os.Remove(path))
}

// traces lists the links, routes and neighbours of the namespace beyond its
// loopback's.
func (ns *Namespace) traces() ([]string, error) {
	var found []string
	err := ns.Netlink(func(h *netlink.Handle) error {
		names := map[int]string{}
		links, err := lab.Dump(h.LinkList)
		for _, l := range links {
			names[l.Attrs().Index] = l.Attrs().Name
			if l.Attrs().Name != "lo" {
				found = append(found, "link "+l.Attrs().Name)
			}
		}
		if err != nil {
			return err
		}
		routes, err := lab.Dump(func() ([]netlink.Route, error) {
			return h.RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{}, netlink.RT_FILTER_TABLE)
		})
		for _, r := range routes {
			if names[r.LinkIndex] != "lo" {
				found = append(found, fmt.Sprintf("route %v dev %s", r.Dst, names[r.LinkIndex]))
			}
		}
		if err != nil {
			return err
		}
		neighbours, err := lab.Dump(func() ([]netlink.Neigh, error) { return h.NeighList(0, netlink.FAMILY_ALL) })
		for _, n := range neighbours {
			if n.State == netlink.NUD_PERMANENT && names[n.LinkIndex] != "lo" {
				found = append(found, fmt.Sprintf("neighbour %v dev %s", n.IP, names[n.LinkIndex]))
			}
		}
		return err
	})
	return found, err
}
