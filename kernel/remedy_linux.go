package kernel

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// remedy says what to do about a failed operation, "" when the cause says it.
func remedy(op Op, err error) string {
	if errors.Is(err, unix.EPERM) {
		return "it needs CAP_NET_ADMIN: run as root or grant that capability"
	}
	var foreign *foreignRouteError
	if errors.As(err, &foreign) {
		return fmt.Sprintf("remove it (%s route del %s) or choose another pod CIDR", ipCommand(foreign.key.Dst), foreign.key.Dst)
	}
	switch op := op.(type) {
	case LinkAdd:
		return linkRemedy(op.Link, err)
	case LinkSet:
		if errors.Is(err, unix.EADDRINUSE) {
			return "another program has the device's UDP port; see ss -ulnp, or choose another port"
		}
	case SysctlSet:
		if errors.Is(err, unix.EROFS) || errors.Is(err, unix.EACCES) {
			return "in a container, mount the host's /proc/sys/net and name the mount with procSys, as the manifest does; or run on the node: " + op.String()
		}
	case ShaperAdd:
		return shaperRemedy(err)
	case AddressAdd:
		if errors.Is(err, unix.EACCES) && op.Address.Prefix.Addr().Is6() {
			return "IPv6 is switched off there; run: sysctl -w net/ipv6/conf/all/disable_ipv6=0 net/ipv6/conf/default/disable_ipv6=0"
		}
	case RouteAdd:
		return routeRemedy(op.Route, err)
	case RouteReplace:
		return routeRemedy(op.Route, err)
	}
	return ""
}

func linkRemedy(l Link, err error) string {
	switch {
	case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENODEV):
		kind := string(l.Kind)
		alternative := "choose mode vxlan"
		switch l.Kind {
		case VXLAN:
			alternative = "choose another mode"
		case IP6Tnl:
			kind = "ip6_tunnel" // the module's name
		}
		return fmt.Sprintf("the kernel lacks %s: load module %s (modprobe %s) or %s", l.Kind, kind, kind, alternative)
	case errors.Is(err, unix.EADDRINUSE):
		return fmt.Sprintf("another program has UDP port %d; see ss -ulnp, or choose another port", l.Port)
	case errors.Is(err, unix.EEXIST) && l.Kind == VXLAN:
		return fmt.Sprintf("another device has VNI %d on UDP port %d; see ip -d link show type vxlan, or choose another VNI or port", l.VNI, l.Port)
	case errors.Is(err, unix.EEXIST) && l.Kind == IP6Tnl:
		return "a network namespace can have one external ip6tnl device, and another program has it; see ip -d link show type ip6tnl, and delete it or choose mode vxlan"
	case errors.Is(err, unix.EEXIST):
		return fmt.Sprintf("another device has the same ends; see ip -d link show type %s and delete it", l.Kind)
	}
	return ""
}

func routeRemedy(r Route, err error) string {
	switch {
	case errors.Is(err, unix.ENETUNREACH), errors.Is(err, unix.EHOSTUNREACH):
		return fmt.Sprintf("no subnet of %s has gateway %s; see ip address show dev %s", r.Link, r.Gateway, r.Link)
	case errors.Is(err, unix.ENETDOWN):
		return "set the link up: ip link set dev " + r.Link + " up"
	case errors.Is(err, unix.EINVAL) && r.Src.IsValid():
		return fmt.Sprintf("is source %s still an address of this node? see ip address", r.Src)
	}
	return ""
}
