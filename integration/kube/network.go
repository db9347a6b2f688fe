package kube

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// Network is who connects a cluster's pods.
type Network string

// The networks. Reference is ptp with host-local and portmap, the plugins that
// Ropeway is measured against; its nodes have static routes.
const (
	Ropeway   Network = "ropeway"
	Reference Network = "reference"
)

//go:embed addons/coredns.yaml
var corednsManifest string

// connect installs the pods' network and the name service.
func (c *Cluster) connect(ctx context.Context) error {
	if err := c.installDNS(ctx); err != nil {
		return err
	}
	if c.Options.Network == Reference {
		return c.connectReference(ctx)
	}
	_, err := c.Kubectl(ctx, "apply", "-f", c.Manifest())
	return err
}

// Manifest is the file that installs Ropeway in the cluster's mode.
func (c *Cluster) Manifest() string {
	return filepath.Join(c.root, "manifests", "ropeway-"+string(c.Options.Mode)+".yaml")
}

func (c *Cluster) installDNS(ctx context.Context) error {
	addresses := strings.Split(c.both(clusterDNS4, clusterDNS6), ",")
	list, err := json.Marshal(addresses)
	if err != nil {
		return err
	}
	manifest := strings.NewReplacer("$DNS_IMAGE", corednsImage, "$DNS_LIST", string(list), "$DNS_FIRST", addresses[0]).Replace(corednsManifest)
	_, err = c.Apply(ctx, manifest, "apply", "-f", "-")
	return err
}

// image is how a manifest names the container image.
var image = regexp.MustCompile(`image: *"?(\S*/ropeway:[^\s"]+)`)

// ManifestImage is the image that the manifest at path asks for.
func ManifestImage(path string) (string, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	found := image.FindSubmatch(b)
	if found == nil {
		return "", fmt.Errorf("%s names no image of ropeway", path)
	}
	return string(found[1]), nil
}

// connectReference does by hand what a network's daemon would do.
func (c *Cluster) connectReference(ctx context.Context) error {
	cidrs := map[string][]netip.Prefix{}
	for _, n := range c.Nodes {
		err := until(ctx, func() error {
			out, err := c.Kubectl(ctx, "get", "node", n.Name, "-o", "jsonpath={.spec.podCIDRs[*]}")
			if err != nil {
				return err
			}
			cidrs[n.Name] = nil
			for _, text := range strings.Fields(out) {
				cidrs[n.Name] = append(cidrs[n.Name], netip.MustParsePrefix(text))
			}
			if len(cidrs[n.Name]) == 0 {
				return fmt.Errorf("node %s has no pod CIDR yet", n.Name)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	for _, n := range c.Nodes {
		if err := n.connectReference(ctx, cidrs); err != nil {
			return fmt.Errorf("node %s: %w", n.Name, err)
		}
	}
	return nil
}

func (n *Node) connectReference(ctx context.Context, cidrs map[string][]netip.Prefix) error {
	if err := n.Network.Sysctl("net/ipv4/ip_forward=1", "net/ipv6/conf/all/forwarding=1"); err != nil {
		return err
	}
	for _, peer := range n.cluster.Nodes {
		if peer == n {
			continue
		}
		for _, cidr := range cidrs[peer.Name] {
			for _, address := range peer.Lab.Facts().Addresses {
				if address.Is4() != cidr.Addr().Is4() {
					continue
				}
				if _, err := n.Network.Exec(ctx, "ip", "route", "replace", cidr.String(), "via", address.String()); err != nil {
					return err
				}
			}
		}
	}
	var ranges [][]map[string]string
	var routes []map[string]string
	for _, cidr := range cidrs[n.Name] {
		ranges = append(ranges, []map[string]string{{"subnet": cidr.String()}})
		destination := "0.0.0.0/0"
		if cidr.Addr().Is6() {
			destination = "::/0"
		}
		routes = append(routes, map[string]string{"dst": destination})
	}
	conflist, err := json.MarshalIndent(map[string]any{
		"cniVersion": "1.0.0", "name": "reference",
		"plugins": []any{
			map[string]any{"type": "ptp", "ipMasq": false, "ipam": map[string]any{"type": "host-local", "ranges": ranges, "routes": routes}},
			map[string]any{"type": "portmap", "capabilities": map[string]any{"portMappings": true}},
		},
	}, "", "  ")
	if err != nil {
		return err
	}
	for _, program := range []string{"ptp", "host-local", "portmap", "loopback"} {
		if _, err = n.Exec(ctx, "install", "-D", filepath.Join(n.cluster.build, "bin", program), "/opt/cni/bin/"+program); err != nil {
			return err
		}
	}
	_, err = n.ExecInput(ctx, string(conflist), "sh", "-c", "mkdir -p /etc/cni/net.d && cat >/etc/cni/net.d/10-reference.conflist")
	return err
}
