package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/ropeway-net/ropeway/integration/lab"
)

// Proxy is the mode of kube-proxy.
type Proxy string

// The modes that the test kernel can serve.
const (
	NFTables Proxy = "nftables"
	IPTables Proxy = "iptables"
)

// Node is a machine with a kubelet.
type Node struct {
	*Machine
	Lab     *lab.Node
	cluster *Cluster
}

// configure writes the configuration of the node's services.
func (n *Node) configure() error {
	if err := n.make(); err != nil {
		return err
	}
	kubelet, err := json.MarshalIndent(n.kubeletConfig(), "", "  ")
	if err != nil {
		return err
	}
	proxy, err := json.MarshalIndent(n.proxyConfig(), "", "  ")
	if err != nil {
		return err
	}
	for path, content := range map[string][]byte{
		"/etc/containerd/config.toml":       []byte(n.containerdConfig()),
		"/etc/kubernetes/kubelet.json":      kubelet,
		"/etc/kubernetes/kube-proxy.json":   proxy,
		"/etc/kubernetes/empty-resolv.conf": nil,
		"/etc/hosts":                        n.hosts(),
		"/etc/machine-id":                   fmt.Appendf(nil, "%032x\n", n.Name),
	} {
		file := n.path(path)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(file, content, 0o644); err != nil {
			return err
		}
	}
	n.services = n.nodeServices()
	return nil
}

func (n *Node) hosts() []byte {
	text := "127.0.0.1 localhost\n::1 localhost\n"
	for _, other := range n.cluster.lab.Nodes() {
		text += other.Facts().Addresses[0].String() + " " + other.Name + "\n"
	}
	return []byte(text)
}

func (n *Node) nodeServices() []service {
	bin := func(name string) string { return filepath.Join(n.cluster.build, "bin", name) }
	var addresses []string
	for _, a := range n.Lab.Facts().Addresses {
		addresses = append(addresses, a.String())
	}
	kubeconfig := n.cluster.pki().Kubeconfig
	return []service{
		{"containerd", []string{"/usr/bin/env", "PATH=" + filepath.Join(n.cluster.build, "bin") + ":/usr/sbin:/usr/bin:/sbin:/bin", bin("containerd")}},
		{"kubelet", []string{
			bin("kubelet"), "--config=/etc/kubernetes/kubelet.json", "--kubeconfig=" + kubeconfig(kubeletUser(n.Name)),
			"--hostname-override=" + n.Name, "--node-ip=" + strings.Join(addresses, ","), "--v=1",
			"--node-labels=topology.kubernetes.io/zone=zone-" + n.Name,
		}},
		{"kube-proxy", []string{bin("kube-proxy"), "--config=/etc/kubernetes/kube-proxy.json", "--hostname-override=" + n.Name}},
	}
}

func (n *Node) containerdConfig() string {
	return `version = 3
root = "/var/lib/containerd"
state = "/run/containerd"
[plugins."io.containerd.cri.v1.images".pinned_images]
  sandbox = "` + pauseImage + `"
[plugins."io.containerd.cri.v1.runtime"]
  disable_apparmor = true
  restrict_oom_score_adj = true # the machine may not lower it
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
  SystemdCgroup = false
[plugins."io.containerd.cri.v1.runtime".cni]
  bin_dirs = ["/opt/cni/bin"]
  conf_dir = "/etc/cni/net.d"
`
}

func (n *Node) kubeletConfig() map[string]any {
	return map[string]any{
		"apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
		"containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
		"authentication":           map[string]any{"anonymous": map[string]any{"enabled": true}, "webhook": map[string]any{"enabled": false}},
		"authorization":            map[string]any{"mode": "AlwaysAllow"},
		"cgroupDriver":             "cgroupfs", "cgroupRoot": "/" + n.cgroup, "failCgroupV1": false,
		"enforceNodeAllocatable": []string{}, "failSwapOn": false,
		"clusterDNS": strings.Split(n.cluster.both(clusterDNS4, clusterDNS6), ",")[:1], "clusterDomain": "cluster.local",
		"staticPodPath": staticPods, "resolvConf": "/etc/kubernetes/empty-resolv.conf", "makeIPTablesUtilChains": false,
		"evictionHard":                map[string]any{"nodefs.available": "1%", "imagefs.available": "1%", "memory.available": "50Mi"},
		"imageGCHighThresholdPercent": 100, "imageGCLowThresholdPercent": 99,
		"maxPods": 130, "registryPullQPS": 0, "eventRecordQPS": 0, "kubeAPIQPS": 200, "kubeAPIBurst": 400,
	}
}

func (n *Node) proxyConfig() map[string]any {
	return map[string]any{
		"apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration",
		"clientConnection": map[string]any{"kubeconfig": n.cluster.pki().Kubeconfig("system:kube-proxy")},
		"mode":             string(n.cluster.Options.Proxy), "clusterCIDR": n.cluster.both(podCIDR4, podCIDR6),
		// What the kernel counts is the same in all namespaces, and not ours.
		"conntrack": map[string]any{"maxPerCore": 0, "min": 0},
	}
}

// importImages makes the archives' images known to containerd.
func (n *Node) importImages(ctx context.Context, archives ...string) error {
	ctr := filepath.Join(n.cluster.build, "bin", "ctr")
	err := until(ctx, func() error {
		_, err := n.Exec(ctx, ctr, "version")
		return err
	})
	if err != nil {
		return err
	}
	for _, archive := range archives {
		if _, err := n.Exec(ctx, ctr, "-n", "k8s.io", "images", "import", "--all-platforms=false", archive); err != nil {
			return err
		}
	}
	return nil
}
