package kube

import (
	"context"
	"net/netip"
	"path/filepath"
	"strings"

	"github.com/ropeway-net/ropeway/integration/lab"
)

// apiPort is where the API server listens.
const apiPort = 6443

// Prefixes of the cluster. The controller manager cuts pod CIDRs for nodes out
// of the first ones.
const (
	podCIDR4, podCIDR6         = "10.244.0.0/16", "fd00:10:244::/48"
	serviceCIDR4, serviceCIDR6 = "10.96.0.0/16", "fd00:10:96::/108"
	clusterDNS4, clusterDNS6   = "10.96.0.10", "fd00:10:96::a"
)

// both joins what the cluster has of each family.
func (c *Cluster) both(v4, v6 string) string {
	switch c.Options.Pods {
	case lab.IPv4:
		return v4
	case lab.IPv6:
		return v6
	case lab.DualIPv6:
		return v6 + "," + v4
	default:
		return v4 + "," + v6
	}
}

// controlServices are the programs of the control plane.
func (c *Cluster) controlServices() []service {
	bin := func(name string) string { return filepath.Join(c.build, "bin", name) }
	keys := c.pki()
	address := c.controlNode().Address(lab.IPv4)
	if c.Options.Pods == lab.IPv6 {
		address = c.controlNode().Address(lab.IPv6)
	}
	return []service{
		{"etcd", []string{
			bin("etcd"), "--data-dir", "/var/log/etcd", "--unsafe-no-fsync", "--log-level", "warn",
			"--listen-client-urls", "http://127.0.0.1:2379", "--advertise-client-urls", "http://127.0.0.1:2379",
			"--listen-peer-urls", "http://127.0.0.1:2380",
		}},
		{"kube-apiserver", []string{
			bin("kube-apiserver"), "--etcd-servers=http://127.0.0.1:2379", "--bind-address=::",
			"--secure-port=6443", "--advertise-address=" + address.String(),
			"--tls-cert-file=" + keys.serverCert(), "--tls-private-key-file=" + keys.serverKey(),
			"--token-auth-file=" + keys.tokens(), "--authorization-mode=Node,RBAC",
			"--enable-admission-plugins=NodeRestriction", "--allow-privileged=true",
			"--service-cluster-ip-range=" + c.both(serviceCIDR4, serviceCIDR6),
			"--service-account-issuer=https://kubernetes.default.svc.cluster.local",
			"--service-account-key-file=" + keys.accountKey(), "--service-account-signing-key-file=" + keys.accountKey(),
			"--kubelet-preferred-address-types=InternalIP", "--profiling=false",
		}},
		{"kube-controller-manager", []string{
			bin("kube-controller-manager"), "--kubeconfig=" + keys.Kubeconfig("system:kube-controller-manager"),
			"--allocate-node-cidrs=true", "--cluster-cidr=" + c.both(podCIDR4, podCIDR6),
			"--service-cluster-ip-range=" + c.both(serviceCIDR4, serviceCIDR6),
			"--root-ca-file=" + keys.caCert(), "--service-account-private-key-file=" + keys.accountKey(),
			"--use-service-account-credentials=true", "--leader-elect=false", "--bind-address=127.0.0.1",
		}},
		{"kube-scheduler", []string{
			bin("kube-scheduler"), "--kubeconfig=" + keys.Kubeconfig("system:kube-scheduler"),
			"--leader-elect=false", "--bind-address=127.0.0.1",
		}},
	}
}

// users are all that have a token, the nodes' kubelets included.
func (c *Cluster) users() []user {
	users := []user{
		{"admin", []string{"system:masters"}},
		{"system:kube-controller-manager", nil},
		{"system:kube-scheduler", nil},
		{"system:kube-proxy", nil},
	}
	for _, n := range c.Options.nodes() {
		users = append(users, user{kubeletUser(n), []string{"system:nodes"}})
	}
	return users
}

func kubeletUser(node string) string { return "system:node:" + node }

// serverAddresses are all by which the API server is called.
func (c *Cluster) serverAddresses() []netip.Addr {
	addresses := append([]netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.IPv6Loopback()}, c.controlNode().Facts().Addresses...)
	for _, prefix := range strings.Split(c.both(serviceCIDR4, serviceCIDR6), ",") {
		addresses = append(addresses, netip.MustParsePrefix(prefix).Addr().Next())
	}
	return addresses
}

// startControlPlane returns when the API server answers.
func (c *Cluster) startControlPlane(ctx context.Context) error {
	server := netip.AddrPortFrom(c.controlNode().Facts().Addresses[0], apiPort)
	if err := c.pki().make(server, c.serverAddresses(), c.users()); err != nil {
		return err
	}
	if err := c.Control.PowerOn(ctx); err != nil {
		return err
	}
	return c.WaitAPI(ctx)
}

// WaitAPI waits until the API server is ready.
func (c *Cluster) WaitAPI(ctx context.Context) error {
	return until(ctx, func() error {
		_, err := c.Kubectl(ctx, "get", "--raw=/readyz", "--request-timeout=2s")
		return err
	})
}
