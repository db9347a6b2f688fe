package scenarios

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/ropeway-net/ropeway/daemon/topology"
	"github.com/ropeway-net/ropeway/integration/lab"
	"github.com/ropeway-net/ropeway/statedir"
)

func clusterCommands() map[string]command {
	return map[string]command{
		"lab": labUp, "mode": changeMode,
		"nodes-remove": nodesRemove, "nodes-add": nodesAdd, "renumber": renumber,
		"nodes-file": nodesFile, "nodes-restore": nodesRestore,
	}
}

// lab [subnet1=N,N…] [subnet2=N,N…] [pods=FAMILIES] [pool-bits=N] [daemons=false]:
// the lab comes up in the case's mode and, unless told otherwise, its daemons
// get ready. pool-bits is the prefix length of the nodes' IPv4 pod CIDRs.
func labUp(ctx context.Context, w *world, args []string) (string, error) {
	values, err := assignments(args, "subnet1", "subnet2", "pods", "pool-bits", "daemons")
	if err != nil {
		return "", err
	}
	if w.lab != nil {
		return "", fmt.Errorf("the lab is up already")
	}
	options := lab.Options{Mode: w.Mode, Underlay: w.Underlay, Pods: w.Pods}
	if list := values["subnet1"]; list != "" {
		options.Subnet1 = strings.Split(list, ",")
	}
	if list := values["subnet2"]; list != "" {
		options.Subnet2 = strings.Split(list, ",")
	}
	if families := values["pods"]; families != "" {
		options.Pods = lab.Families(families)
	}
	w.lab, err = lab.New(ctx, options)
	if err == nil && values["pool-bits"] != "" {
		err = w.shrinkPools(values["pool-bits"])
	}
	if err != nil || values["daemons"] == "false" {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, 2*patience)
	defer cancel()
	return "", w.lab.Start(ctx)
}

// shrinkPools gives every node a longer IPv4 pod CIDR.
func (w *world) shrinkPools(text string) error {
	bits, err := strconv.Atoi(text)
	if err != nil {
		return err
	}
	nodes := w.lab.ClusterNodes()
	for i := range nodes {
		nodes[i].PodCIDRs = slices.Clone(nodes[i].PodCIDRs)
		for j, cidr := range nodes[i].PodCIDRs {
			if cidr.Addr().Is4() {
				nodes[i].PodCIDRs[j] = netip.PrefixFrom(cidr.Addr(), bits)
			}
		}
	}
	return w.lab.SetNodes(nodes)
}

// mode MODE: every node's configuration says so and its daemon is restarted.
func changeMode(ctx context.Context, w *world, args []string) (string, error) {
	if err := want(args, "mode MODE", 1, 1); err != nil {
		return "", err
	}
	if err := w.lab.SetMode(ctx, topology.Mode(args[0])); err != nil {
		return "", err
	}
	w.Mode = topology.Mode(args[0])
	ctx, cancel := context.WithTimeout(ctx, 2*patience)
	defer cancel()
	return "", w.lab.WaitReady(ctx)
}

// nodes-remove NODE: the nodes files no longer name it; the machine stays.
func nodesRemove(_ context.Context, w *world, args []string) (string, error) {
	if err := want(args, "nodes-remove NODE", 1, 1); err != nil {
		return "", err
	}
	var rest []string
	nodes := w.lab.ClusterNodes()
	for i := len(nodes) - 1; i >= 0; i-- {
		if nodes[i].Name == args[0] {
			nodes = slices.Delete(nodes, i, i+1)
		} else {
			rest = append(rest, nodes[i].Name)
		}
	}
	var errs []error
	for _, name := range rest {
		errs = append(errs, w.lab.Node(name).SetNodes(nodes))
	}
	return "", errors.Join(errs...)
}

// nodes-add NODE: the nodes files name it again.
func nodesAdd(_ context.Context, w *world, args []string) (string, error) {
	if err := want(args, "nodes-add NODE", 1, 1); err != nil {
		return "", err
	}
	return "", w.lab.SetNodes(w.lab.ClusterNodes())
}

// renumber NODE: it gets another underlay address in both families, and the
// nodes files say so.
func renumber(ctx context.Context, w *world, args []string) (string, error) {
	if err := want(args, "renumber NODE", 1, 1); err != nil {
		return "", err
	}
	n, err := w.node(args[0])
	if err != nil {
		return "", err
	}
	return "", n.Renumber(ctx, 222)
}

// nodes-file NODE FILE: the node's nodes file becomes a copy of FILE, or
// vanishes if FILE is none.
func nodesFile(_ context.Context, w *world, args []string) (string, error) {
	if err := want(args, "nodes-file NODE FILE", 2, 2); err != nil {
		return "", err
	}
	n, err := w.node(args[0])
	if err != nil {
		return "", err
	}
	if args[1] == "none" {
		return "", os.Remove(n.NodesFile())
	}
	content, err := os.ReadFile(w.mkAbs(args[1]))
	if err != nil {
		return "", err
	}
	return "", statedir.WriteFile(n.NodesFile(), content)
}

// nodes-restore NODE: its nodes file is right again.
func nodesRestore(_ context.Context, w *world, args []string) (string, error) {
	if err := want(args, "nodes-restore NODE", 1, 1); err != nil {
		return "", err
	}
	n, err := w.node(args[0])
	if err != nil {
		return "", err
	}
	return "", n.SetNodes(w.lab.ClusterNodes())
}
