package scenarios

import (
	"fmt"
	"net"
	"runtime"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"github.com/ropeway-net/ropeway/daemon/topology"
)

// Supported says whether the running kernel has what a mode needs, by making
// its tunnel devices in a namespace that is gone afterwards.
func Supported(mode topology.Mode) error {
	if !strings.HasPrefix(string(mode), "ipip") {
		return nil
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with its namespace
		done <- tryIPIP()
	}()
	return <-done
}

func tryIPIP() error {
	ns, err := netns.New()
	if err != nil {
		return fmt.Errorf("make a network namespace: %w", err)
	}
	defer ns.Close()
	local := net.IPv4(192, 0, 2, 1) // without one it would be the module's own tunl0 again
	for _, link := range []netlink.Link{
		&netlink.Iptun{LinkAttrs: netlink.LinkAttrs{Name: "try-ipip"}, Local: local},
		&netlink.Sittun{LinkAttrs: netlink.LinkAttrs{Name: "try-sit"}, Local: local},
		&netlink.Ip6tnl{LinkAttrs: netlink.LinkAttrs{Name: "try-ip6tnl"}, FlowBased: true},
	} {
		if err := netlink.LinkAdd(link); err != nil {
			return fmt.Errorf("this kernel has no %s: %w", link.Type(), err)
		}
	}
	return nil
}
