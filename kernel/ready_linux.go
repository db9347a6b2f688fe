package kernel

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// ErrUnsupported means that the kernel lacks what pods need.
var ErrUnsupported = errors.New("the kernel lacks it")

// CanLinkPods says what keeps the caller's namespace from taking a pod link. It
// makes nothing: it asks for a veth pair with an address that is none, which a
// kernel refuses in one way that has veth, having loaded the module, and in
// another one that has not.
func CanLinkPods() error {
	err := tryLink("veth")
	switch {
	case errors.Is(err, unix.EINVAL):
		return nil
	case err == nil:
		return errors.New("the kernel made a veth pair with an address that is none")
	case errors.Is(err, unix.EOPNOTSUPP):
		return fmt.Errorf("veth pairs: %w; load the module (modprobe veth) or use a kernel with CONFIG_VETH", ErrUnsupported)
	}
	return fmt.Errorf("veth pairs: %w%s", err, remedyFor(err))
}

func tryLink(kind string) error {
	req := nl.NewNetlinkRequest(unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL|unix.NLM_F_ACK)
	req.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
	req.AddData(nl.NewRtAttr(unix.IFLA_ADDRESS, []byte{2}))
	info := nl.NewRtAttr(unix.IFLA_LINKINFO, nil)
	info.AddRtAttr(nl.IFLA_INFO_KIND, nl.NonZeroTerminated(kind))
	req.AddData(info)
	_, err := req.Execute(unix.NETLINK_ROUTE, 0)
	return err
}

// HasIPv6 says why pod links cannot have IPv6 in the caller's namespace, with an
// error that wraps [ErrNoIPv6].
func HasIPv6() error {
	const path = "/proc/sys/net/ipv6/conf/default/disable_ipv6"
	b, err := os.ReadFile(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("%w in the whole kernel; boot without ipv6.disable=1 or use no IPv6 pod CIDR", ErrNoIPv6)
	case err != nil:
		return fmt.Errorf("is IPv6 on? %w", err)
	case strings.TrimSpace(string(b)) != "0":
		return fmt.Errorf("%w for new interfaces of the node; set net.ipv6.conf.default.disable_ipv6=0 or use no IPv6 pod CIDR", ErrNoIPv6)
	}
	return nil
}

// HasTable says whether the nftables table is in the caller's namespace.
func HasTable(ctx context.Context) (bool, error) {
	t, err := ReadTable(ctx, TablePart{})
	return t != nil, err
}

// HasTunnel says whether one of Ropeway's shared tunnel devices is there and up.
func HasTunnel() (bool, error) {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return false, fmt.Errorf("open a netlink socket: %w", err)
	}
	defer h.Close()
	for _, name := range []string{VXLANLink, IPIPLink, SITLink, IP6TnlLink} {
		link, err := h.LinkByName(name)
		switch {
		case errors.As(err, &netlink.LinkNotFoundError{}):
		case err != nil:
			return false, fmt.Errorf("look for link %s: %w", name, err)
		case link.Attrs().Flags&net.FlagUp != 0:
			return true, nil
		}
	}
	return false, nil
}
