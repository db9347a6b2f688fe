package kernel

import "fmt"

// CarryLoopback lets the host end of a pod link carry what the node sends from
// 127.0.0.0/8, and the answers. From then on the pod could reach services that
// listen on the node's loopback alone (CVE-2020-8558): the caller has seen to
// it that its packets to 127.0.0.0/8 are dropped. There is no such thing for
// IPv6.
func CarryLoopback(hostName string) error {
	if err := setSysctl("/proc/sys/"+routeLocalnet(hostName), "1"); err != nil {
		return fmt.Errorf("host link %s: %w", hostName, err)
	}
	return nil
}

func routeLocalnet(link string) string { return "net/ipv4/conf/" + link + "/route_localnet" }
