package kernel

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// initialPIDNamespace is the inode of the PID namespace that a machine starts
// with (PROC_PID_INIT_INO): its /proc shows every process.
const initialPIDNamespace = 0xeffffffc

// ReadOccupancy enters every network namespace that a process is in or that is
// mounted somewhere, and reads its addresses. Namespaces that end meanwhile are
// no error.
func ReadOccupancy(ctx context.Context) (Occupancy, error) {
	o := Occupancy{
		Holders: map[netip.Addr][]string{}, Node: map[netip.Addr]bool{},
		Routes: map[netip.Addr]string{}, PodLinks: map[string][]netip.Addr{},
	}
	if err := o.readNode(ctx); err != nil {
		return Occupancy{}, err
	}
	paths, err := namespacePaths(ctx)
	if err != nil {
		return Occupancy{}, err
	}
	var blind []string
	for _, path := range paths {
		addresses, err := addressesIn(ctx, path)
		switch {
		case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ESRCH), errors.Is(err, ErrNotNetns), errors.Is(err, ErrOwnNetns):
		case err != nil:
			blind = append(blind, err.Error())
		}
		for _, a := range addresses {
			o.Holders[a] = append(o.Holders[a], path)
		}
	}
	var pid unix.Stat_t
	if err := unix.Stat("/proc/self/ns/pid", &pid); err != nil || pid.Ino != initialPIDNamespace {
		blind = append(blind, "only the processes of this container are seen; run on the node itself, or in a pod with hostPID")
	}
	o.Blind = strings.Join(blind, "; ")
	return o, ctx.Err()
}

// readNode reads what the caller's namespace holds and where its routes lead.
func (o *Occupancy) readNode(ctx context.Context) error {
	var err error
	if o.Node, err = NodeAddresses(ctx); err != nil {
		return err
	}
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("open a netlink socket: %w", err)
	}
	defer h.Close()
	links, err := dump(ctx, "links", h.LinkList)
	if err != nil {
		return err
	}
	names := map[int]string{}
	for _, l := range links {
		names[l.Attrs().Index] = l.Attrs().Name
		if isPodLink(l.Attrs().Name) {
			o.PodLinks[l.Attrs().Name] = nil
		}
	}
	neighbours, err := dump(ctx, "neighbours", func() ([]netlink.Neigh, error) { return h.NeighList(0, netlink.FAMILY_ALL) })
	if err != nil {
		return err
	}
	for _, n := range neighbours {
		a, name := fromIP(n.IP), names[n.LinkIndex]
		if isPodLink(name) && a.IsValid() && n.State&netlink.NUD_PERMANENT != 0 && !a.IsMulticast() {
			o.PodLinks[name] = append(o.PodLinks[name], a)
		}
	}
	routes, err := dump(ctx, "routes", func() ([]netlink.Route, error) { return h.RouteList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		return err
	}
	for _, r := range routes {
		p := prefixOf(r.Dst)
		if p.IsValid() && p.IsSingleIP() && r.Type == unix.RTN_UNICAST && names[r.LinkIndex] != "" {
			o.Routes[p.Addr()] = names[r.LinkIndex]
		}
	}
	return nil
}

// namespacePaths returns one path for each network namespace, the caller's left
// out. Those of processes are the sure ones; mounts hold namespaces that no
// process is in.
func namespacePaths(ctx context.Context) ([]string, error) {
	found, err := filepath.Glob("/proc/[0-9]*/ns/net")
	if err != nil {
		return nil, err
	}
	for _, of := range []string{"self", "1"} {
		mounted, err := mountedNamespaces(filepath.Join("/proc", of))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("find mounted network namespaces: %w", err)
		}
		found = append(found, mounted...)
	}
	var own unix.Stat_t
	if err := unix.Stat("/proc/thread-self/ns/net", &own); err != nil {
		return nil, &os.PathError{Op: "stat", Path: "/proc/thread-self/ns/net", Err: err}
	}
	seen := map[[2]uint64]bool{{own.Dev, own.Ino}: true}
	var paths []string
	for _, path := range found {
		var s unix.Stat_t
		if err := unix.Stat(path, &s); err != nil {
			continue // it has ended
		}
		if id := [2]uint64{s.Dev, s.Ino}; !seen[id] {
			seen[id] = true
			paths = append(paths, path)
		}
	}
	return paths, ctx.Err()
}

// mountedNamespaces lists the network namespaces that are mounted on files, as
// seen by a process.
func mountedNamespaces(process string) ([]string, error) {
	f, err := os.Open(filepath.Join(process, "mountinfo"))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var paths []string
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if path, ok := mountedNamespace(lines.Text()); ok {
			paths = append(paths, filepath.Join(process, "root", path))
		}
	}
	return paths, nil
}

// mountedNamespace reads a line of mountinfo, proc_pid_mountinfo(5). It is false
// for what is no network namespace.
func mountedNamespace(line string) (string, bool) {
	fields := strings.Fields(line)
	separator := slices.Index(fields, "-")
	if separator < 6 || len(fields) < separator+2 {
		return "", false
	}
	if fields[separator+1] != "nsfs" || !strings.HasPrefix(fields[3], "net:[") {
		return "", false
	}
	// The kernel writes blanks and backslashes of a path in octal.
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(fields[4]), true
}

func addressesIn(ctx context.Context, path string) ([]netip.Addr, error) {
	fd, err := openOtherNetns(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = unix.Close(fd) }()
	h, err := netlink.NewHandleAt(netns.NsHandle(fd), unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("enter network namespace %s: %w; run with CAP_NET_ADMIN and CAP_SYS_ADMIN", path, err)
	}
	defer h.Close()
	listed, err := dump(ctx, "addresses in "+path, func() ([]netlink.Addr, error) { return h.AddrList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		return nil, err
	}
	var addresses []netip.Addr
	for _, a := range listed {
		if p := prefixOf(a.IPNet); p.IsValid() && !p.Addr().IsLoopback() && !p.Addr().IsLinkLocalUnicast() {
			addresses = append(addresses, p.Addr())
		}
	}
	return addresses, nil
}
