package kube

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/ropeway-net/ropeway/endpoint"
	"github.com/ropeway-net/ropeway/integration/lab"
	"github.com/ropeway-net/ropeway/statedir"
)

// StateDir is the node's /var/lib/cni/ropeway, seen from outside.
func (n *Node) StateDir() statedir.Dir { return statedir.Dir(n.path(statedir.DefaultDir)) }

// Path is where a file that was written on the node is found from outside.
func (n *Node) Path(path string) string { return n.path(path) }

// Reservations are the pod addresses that the node's allocator holds.
func (n *Node) Reservations() ([]netip.Addr, error) {
	entries, err := os.ReadDir(filepath.Join(n.path(statedir.DefaultNetworksDir), "ropeway"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var held []netip.Addr
	for _, e := range entries {
		if a, other := netip.ParseAddr(e.Name()); other == nil {
			held = append(held, a)
		}
	}
	return held, err
}

// Endpoints are the records of the node's attached pods.
func (n *Node) Endpoints() ([]endpoint.Record, error) {
	return endpoint.Store{Dir: n.StateDir().Endpoints()}.List()
}

// PodNamespace is the network namespace of a pod that Ropeway has attached on
// the node. The caller releases it.
func (n *Node) PodNamespace(namespace, name string) (*lab.Namespace, error) {
	records, err := n.Endpoints()
	if err != nil {
		return nil, err
	}
	for _, r := range records {
		if r.Pod.Namespace == namespace && r.Pod.Name == name {
			// The machine's own link from /var/run leads to this one's /run here.
			path := strings.TrimPrefix(r.Netns, "/var")
			return lab.Borrow(filepath.Join("/proc", strconv.Itoa(n.process.PID), "root", path))
		}
	}
	return nil, fmt.Errorf("node %s has no endpoint record of pod %s/%s", n.Name, namespace, name)
}

// PodInfo is what the API server says of a pod.
type PodInfo struct {
	Namespace string
	Name      string
	Node      string
	Phase     string
	Ready     bool
	Deleted   bool // is terminating
	Network   bool // has a network of its own
	Addresses []netip.Addr
}

// Pods lists the pods of a namespace, or of all when it is empty.
func (c *Cluster) Pods(ctx context.Context, namespace string, args ...string) ([]PodInfo, error) {
	command := []string{"get", "pods", "-o", "json", "-A"}
	if namespace != "" {
		command = []string{"get", "pods", "-o", "json", "-n", namespace}
	}
	out, err := c.Kubectl(ctx, append(command, args...)...)
	if err != nil {
		return nil, err
	}
	var list struct {
		Items []struct {
			Metadata struct {
				Namespace, Name   string
				DeletionTimestamp *string
			}
			Spec struct {
				NodeName    string
				HostNetwork bool
			}
			Status struct {
				Phase      string
				PodIPs     []struct{ IP netip.Addr }
				Conditions []struct{ Type, Status string }
			}
		}
	}
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		return nil, fmt.Errorf("list of pods: %w", err)
	}
	var pods []PodInfo
	for _, item := range list.Items {
		p := PodInfo{
			Namespace: item.Metadata.Namespace, Name: item.Metadata.Name, Node: item.Spec.NodeName,
			Phase: item.Status.Phase, Deleted: item.Metadata.DeletionTimestamp != nil, Network: !item.Spec.HostNetwork,
		}
		for _, a := range item.Status.PodIPs {
			p.Addresses = append(p.Addresses, a.IP)
		}
		for _, condition := range item.Status.Conditions {
			p.Ready = p.Ready || condition.Type == "Ready" && condition.Status == "True"
		}
		pods = append(pods, p)
	}
	return pods, nil
}

// Reboot pulls the node's plug and starts it again: all processes and network
// namespaces are gone, what was written to disk stays.
func (n *Node) Reboot(ctx context.Context) error {
	if err := n.PowerOff(ctx); err != nil {
		return err
	}
	if err := n.Lab.Reboot(ctx); err != nil {
		return err
	}
	return n.PowerOn(ctx)
}
