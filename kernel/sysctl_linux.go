package kernel

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

const procSys = "/proc/sys"

// globalSysctls are the ones that a snapshot holds, besides those of tunnel
// devices. Whoever desires another one must add it here, or every comparison
// finds a difference.
func globalSysctls() []string {
	return []string{
		"net/ipv4/ip_forward",
		"net/ipv4/conf/all/rp_filter",
		"net/ipv4/conf/all/send_redirects",
		"net/ipv6/conf/all/forwarding",
	}
}

// linkSysctls are the ones that a snapshot holds of each tunnel device.
func linkSysctls(link string) []string {
	return []string{
		"net/ipv4/conf/" + link + "/rp_filter",
		"net/ipv4/conf/" + link + "/send_redirects",
	}
}

func (c *conn) readSysctls(_ context.Context, r *reading) error {
	keys := globalSysctls()
	for name := range r.snapshot.State.Links {
		keys = append(keys, linkSysctls(name)...)
	}
	return c.inNamespace(func() error {
		for _, key := range keys {
			value, err := os.ReadFile(filepath.Join(procSys, key))
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
	path := filepath.Join(procSys, op.Key)
	if rel, err := filepath.Rel(procSys+"/net", path); err != nil || strings.HasPrefix(rel, "..") {
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
