package lab

import (
	"fmt"
	"net"
	"os/exec"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/ropeway-net/ropeway/daemon/topology"
)

// Supported tells by trying, in a namespace that is gone afterwards, whether
// the running kernel can make the tunnel devices of a lab with these options.
func Supported(options Options) error {
	var devices []netlink.Link
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "probe"
	local4 := net.IPv4(192, 0, 2, 1)
	over6 := options.Underlay == IPv6 || options.Underlay == DualIPv6
	switch {
	case options.Mode == topology.Direct:
		return nil
	case options.Mode == topology.VXLAN || options.Mode == topology.VXLANCrossSubnet || options.Mode == "":
		devices = append(devices, &netlink.Vxlan{LinkAttrs: attrs, VxlanId: 1, Port: 4789})
	case over6:
		devices = append(devices, &netlink.Ip6tnl{LinkAttrs: attrs, FlowBased: true})
	default:
		devices = append(devices, &netlink.Iptun{LinkAttrs: attrs, Local: local4})
		if options.Pods != IPv4 {
			devices = append(devices, &netlink.Sittun{LinkAttrs: attrs, Local: local4})
		}
	}
	for _, device := range devices {
		if err := tryLink(device); err != nil {
			return fmt.Errorf("this kernel cannot make a device of type %s, which mode %s needs: %w", device.Type(), options.Mode, err)
		}
	}
	return nil
}

// SupportsIPVS tells whether services can be balanced as kube-proxy does in IPVS
// mode: the kernel has it, a dummy device for the addresses, and somebody writes
// the virtual servers.
func SupportsIPVS() error {
	if _, err := netlink.GenlFamilyGet("IPVS"); err != nil {
		return fmt.Errorf("this kernel has no IPVS: %w", err)
	}
	if err := tryLink(&netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Name: "probe"}}); err != nil {
		return fmt.Errorf("this kernel cannot make a device of type dummy: %w", err)
	}
	if _, err := exec.LookPath("ipvsadm"); err != nil {
		return fmt.Errorf("virtual servers cannot be written: %w", err)
	}
	return nil
}

func tryLink(link netlink.Link) error {
	return onOwnThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("unshare: %w; are you root?", err)
		}
		h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
		if err != nil {
			return err
		}
		defer h.Close()
		return h.LinkAdd(link)
	})
}
