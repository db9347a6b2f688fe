package kernel

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

const (
	addrGenDefault = -1
	addrGenNone    = 1 // IN6_ADDR_GEN_MODE_NONE
)

// Indices of net.ipv4.conf values in IFLA_INET_CONF, from linux/ip.h.
const (
	devconfForwarding    = 1
	devconfSendRedirects = 6
	devconfRPFilter      = 8
)

// linkConfig sets a link's IPv4 sysctls, its IPv6 address generation and its
// alias in one message, which takes the kernel's network lock once and not per
// value.
func linkConfig(index, addrGenMode int, alias string) *nl.NetlinkRequest {
	req := nl.NewNetlinkRequest(unix.RTM_SETLINK, 0)
	msg := nl.NewIfInfomsg(unix.AF_UNSPEC)
	msg.Index = int32(index)
	req.AddData(msg)
	spec := nl.NewRtAttr(unix.IFLA_AF_SPEC, nil)
	conf := spec.AddRtAttr(unix.AF_INET, nil).AddRtAttr(unix.IFLA_INET_CONF, nil)
	conf.AddRtAttr(devconfForwarding, nl.Uint32Attr(1))
	conf.AddRtAttr(devconfSendRedirects, nl.Uint32Attr(0))
	conf.AddRtAttr(devconfRPFilter, nl.Uint32Attr(1))
	if addrGenMode != addrGenDefault {
		spec.AddRtAttr(unix.AF_INET6, nil).AddRtAttr(unix.IFLA_INET6_ADDR_GEN_MODE, []byte{byte(addrGenMode)})
	}
	req.AddData(spec)
	req.AddData(nl.NewRtAttr(unix.IFLA_IFALIAS, []byte(alias)))
	return req
}

// setSysctl writes a value unless it is there already.
func setSysctl(path, value string) error {
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) && strings.HasPrefix(path, "/proc/sys/net/ipv6/") {
		return fmt.Errorf("%w: %s does not exist", ErrNoIPv6, path)
	}
	if err != nil {
		return err
	}
	if strings.TrimSpace(string(b)) == value {
		return nil
	}
	if err := os.WriteFile(path, []byte(value), 0); err != nil {
		return fmt.Errorf("set sysctl: %w%s", err, remedyFor(err))
	}
	return nil
}
