package kernel

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// ProcSys is where the kernel's sysctls are.
const ProcSys = "/proc/sys"

// Option changes what [Open] opens.
type Option func(*conn)

// SysctlsIn has sysctls read and written below another directory than
// [ProcSys]. A container's own is read-only unless it is privileged; with the
// host's /proc/sys/net mounted at dir/net no privilege is needed. Both show the
// network namespace of whoever looks.
func SysctlsIn(dir string) Option { return func(c *conn) { c.procSys = dir } }

// globalSysctls are the ones that a snapshot holds, besides those of tunnel
// devices, two of interfaces on a network and accept_ra of those that learn from
// router advertisements.
// Whoever desires another one must add it here, or every comparison finds a
// difference.
func globalSysctls() []string {
	return []string{
		"net/ipv4/ip_forward",
		"net/ipv4/conf/all/send_redirects",
		"net/ipv6/conf/all/forwarding",
	}
}

// linkSysctls are the ones that a snapshot holds of each tunnel device.
func linkSysctls(link string) []string {
	return append(routerSysctls(link), "net/ipv4/conf/"+link+"/rp_filter")
}

// routerSysctls are the ones that a snapshot holds of interfaces that have an
// address on a network, besides.
func routerSysctls(link string) []string {
	return []string{
		"net/ipv4/conf/" + link + "/forwarding",
		"net/ipv4/conf/" + link + "/send_redirects",
	}
}

// onNetwork says whether an interface has an address that others can reach.
func (i *Interface) onNetwork() bool {
	return slices.ContainsFunc(i.Addresses, func(p netip.Prefix) bool { return p.Addr().IsGlobalUnicast() })
}

// acceptRA is how an interface treats router advertisements: 0 ignores them, 1
// takes them unless the host forwards IPv6, 2 always.
func acceptRA(link string) string { return "net/ipv6/conf/" + link + "/accept_ra" }

// readSysctls also completes what is known of interfaces that learn from
// router advertisements.
func (c *conn) readSysctls(_ context.Context, r *reading) error {
	keys := globalSysctls()
	for name := range r.snapshot.State.Links {
		keys = append(keys, linkSysctls(name)...)
	}
	for _, i := range r.interfaces {
		if i.Advertised {
			keys = append(keys, acceptRA(i.Name))
		}
		if i.onNetwork() {
			keys = append(keys, routerSysctls(i.Name)...)
		}
	}
	defer func() {
		for _, i := range r.interfaces {
			i.Advertised = i.Advertised && r.snapshot.State.Sysctls[acceptRA(i.Name)] != "0"
		}
	}()
	return c.inNamespace(func() error {
		for _, key := range keys {
			value, err := os.ReadFile(filepath.Join(c.procSys, key))
			if errors.Is(err, fs.ErrNotExist) {
				continue // no IPv6, or the link vanished meanwhile
			}
			if err != nil {
				return fmt.Errorf("read sysctl %s: %w", key, err)
			}
			r.snapshot.State.Sysctls[key] = strings.TrimSpace(string(value))
		}
		return nil
	})
}

func (a *application) setSysctl(op SysctlSet) error {
	path := filepath.Join(a.conn.procSys, op.Key)
	if !strings.HasPrefix(filepath.Clean(op.Key), "net/") {
		return errors.New("only sysctls below net belong to a network namespace")
	}
	err := a.conn.inNamespace(func() error {
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		_, err = f.WriteString(op.Value)
		return errors.Join(err, f.Close())
	})
	if errors.Is(err, fs.ErrNotExist) && opLink(op) != "" {
		return fmt.Errorf("%w: %w", errLinkMissing, err)
	}
	return err
}
