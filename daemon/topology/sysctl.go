package topology

import (
	"github.com/ropeway-net/ropeway/daemon/cluster"
	"github.com/ropeway-net/ropeway/kernel"
)

// addSysctls makes the node a router. Redirects would tell pods and peers of
// ways around the node that they cannot use. Packets from a tunnel may come
// from a peer that is otherwise reached directly, so the source check there
// is loose. A router ignores router advertisements, so the node would lose what
// it has learnt from them; it goes on accepting them.
func addSysctls(s *kernel.State, self cluster.Node, under underlay, t tunnels) {
	s.Sysctls["net/ipv4/ip_forward"] = "1"
	s.Sysctls["net/ipv4/conf/all/send_redirects"] = "0"
	if _, v6 := prefixOfFamily(self.PodCIDRs, ipv6); v6 {
		s.Sysctls["net/ipv6/conf/all/forwarding"] = "1"
		for _, i := range under.all {
			if i.Advertised {
				s.Sysctls["net/ipv6/conf/"+i.Name+"/accept_ra"] = "2"
			}
		}
	}
	if tun, ok := t[ipv4]; ok {
		s.Sysctls["net/ipv4/conf/"+tun.link.Name+"/rp_filter"] = "2"
		addRouterSysctls(s, tun.link.Name)
	}
	if _, v4 := prefixOfFamily(self.PodCIDRs, ipv4); v4 {
		for _, u := range under.byFamily {
			addRouterSysctls(s, u.iface.Name)
		}
	}
}

// addRouterSysctls sets what an interface has a say in beside "all": the kernel
// sends redirects where either wants them, and forwards what came in by an
// interface only if that one forwards.
func addRouterSysctls(s *kernel.State, link string) {
	s.Sysctls["net/ipv4/conf/"+link+"/forwarding"] = "1"
	s.Sysctls["net/ipv4/conf/"+link+"/send_redirects"] = "0"
}
