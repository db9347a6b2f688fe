package kernel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// Of IPPROTO_IP and IPPROTO_IPV6 alike.
	legacyGetInfo    = 64
	legacyGetEntries = 65

	legacyInfoLen = legacyNameLen + 4*(1+5+5+1+1)
	// legacyEntriesAt is where the entries begin in an answer: behind name and
	// size, aligned.
	legacyEntriesAt = legacyNameLen + 8
	// mostLegacyBytes bounds what is read of a table.
	mostLegacyBytes = 64 << 20

	forwardHook = 2 // NF_INET_FORWARD
)

// legacyFirewalls looks at the filter tables of iptables-legacy, which
// nftables does not show. Asking the kernel for a table would make it; so only
// those are asked for that exist.
func (c *conn) legacyFirewalls() ([]Firewall, error) {
	var found []Firewall
	err := c.inNamespace(func() error {
		for _, f := range []struct {
			family        TableFamily
			names         string
			domain, level int
		}{
			{FamilyIPv4, "ip_tables_names", unix.AF_INET, unix.IPPROTO_IP},
			{FamilyIPv6, "ip6_tables_names", unix.AF_INET6, unix.IPPROTO_IPV6},
		} {
			names, err := os.ReadFile("/proc/thread-self/net/" + f.names)
			if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
				continue // no iptables-legacy, or a container that must not look
			}
			if err != nil {
				return err
			}
			if !slices.Contains(strings.Fields(string(names)), "filter") {
				continue
			}
			drops, err := legacyForwardDrops(f.family, f.domain, f.level)
			if err != nil {
				return fmt.Errorf("read table filter of %s-legacy: %w", map[TableFamily]string{FamilyIPv4: "iptables", FamilyIPv6: "ip6tables"}[f.family], err)
			}
			if drops {
				found = append(found, Firewall{Chain: ForeignChain{f.family, "filter", "FORWARD"}, Hook: Forward, Legacy: true})
			}
		}
		return nil
	})
	return found, err
}

// legacyForwardDrops asks once more when the table has grown meanwhile.
func legacyForwardDrops(family TableFamily, domain, level int) (bool, error) {
	fd, err := unix.Socket(domain, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if errors.Is(err, unix.EAFNOSUPPORT) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer unix.Close(fd)
	for range dumpAttempts {
		var drops bool
		drops, err = askLegacy(fd, family, level)
		if !errors.Is(err, unix.EAGAIN) {
			return drops, err
		}
	}
	return false, err
}

func askLegacy(fd int, family TableFamily, level int) (bool, error) {
	info := make([]byte, legacyInfoLen)
	copy(info, "filter")
	if err := getsockopt(fd, level, legacyGetInfo, info); err != nil {
		return false, err
	}
	number := func(index int) uint32 { return binary.NativeEndian.Uint32(info[legacyNameLen+4*index:]) }
	const validHooks, hookEntries, underflows, size = 0, 1, 6, 12
	length := number(size)
	if number(validHooks)&(1<<forwardHook) == 0 || length > mostLegacyBytes {
		return false, errLegacyTable
	}
	answer := make([]byte, legacyEntriesAt+int(length))
	copy(answer, "filter")
	binary.NativeEndian.PutUint32(answer[legacyNameLen:], length)
	if err := getsockopt(fd, level, legacyGetEntries, answer); err != nil {
		return false, err
	}
	chain := legacyChain{entry: number(hookEntries + forwardHook), underflow: number(underflows + forwardHook)}
	return legacyLayoutOf(family).drops(answer[legacyEntriesAt:], chain)
}

// getsockopt is the system call for options that both take and give a structure,
// which package unix does not have.
func getsockopt(fd, level, option int, value []byte) error {
	length := uint32(len(value))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), uintptr(level), uintptr(option),
		uintptr(unsafe.Pointer(&value[0])), uintptr(unsafe.Pointer(&length)), 0)
	if errno != 0 {
		return errno
	}
	return nil
}
