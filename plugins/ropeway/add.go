package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"slices"
	"time"

	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"

	"github.com/ropeway-net/ropeway/bandwidth"
	"github.com/ropeway-net/ropeway/endpoint"
	"github.com/ropeway-net/ropeway/hostports"
	"github.com/ropeway-net/ropeway/kernel"
	"github.com/ropeway-net/ropeway/plugins/protocol"
	"github.com/ropeway-net/ropeway/statedir"
)

// add attaches a pod: reservation, record, kernel, result, in this order, so
// that a crash in between leaves something that DEL finds. All or nothing.
func (p plugin) add(ctx context.Context, args *protocol.Args) (err error) {
	netns, err := kernel.OpenPodNetns(args.Netns)
	if err != nil {
		return netnsError(err)
	}
	defer netns.Close()
	c, err := parseConf(args.StdinData, args.Args)
	if err != nil {
		return err
	}
	previous, err := c.chained()
	if err != nil {
		return err
	}
	log := startLog(c.StateDir, "ADD", args)
	defer func() { log.finish(err) }()
	bootID, err := statedir.BootID()
	if err != nil {
		return err
	}
	node, err := c.nodeFacts(bootID)
	if err != nil {
		return err
	}
	source, err := c.allocatorFor(args, node)
	if err != nil {
		return err
	}
	if err = checkIfName(ctx, args, netns); err != nil {
		return err
	}
	claim, err := endpoint.Store{Dir: c.StateDir.Endpoints()}.Claim(args.ContainerID, args.IfName)
	if err != nil {
		return err
	}
	// A claim that stays makes the next ADD search, and harms nothing else.
	defer func() { _ = claim.Release() }()
	if err := makeRoom(ctx, c, args, claim, bootID); err != nil {
		return err
	}
	a := &attach{plugin: p, conf: c, args: args, previous: previous, node: node, netns: netns, source: source, claim: claim, log: log}
	return a.run(ctx)
}

// checkIfName refuses a name that is taken, as the specification demands, and
// those under which the kernel keeps the settings of all interfaces.
func checkIfName(ctx context.Context, args *protocol.Args, netns *kernel.PodNetns) error {
	if args.IfName == "all" || args.IfName == "default" {
		return failf(types.ErrInvalidEnvironmentVariables, "CNI_IFNAME: the kernel keeps the name %s to itself; choose another name", args.IfName)
	}
	exists, err := netns.HasLink(ctx, args.IfName)
	if err != nil {
		return kernelError(err)
	}
	if exists {
		return failf(types.ErrInvalidEnvironmentVariables, "CNI_IFNAME: interface %s exists already in %s; detach it with DEL or choose another name", args.IfName, args.Netns)
	}
	return nil
}

// makeRoom refuses an attachment that exists, and clears what one that never
// came to an end, or an earlier boot, left under the same name.
func makeRoom(ctx context.Context, c conf, args *protocol.Args, claim *endpoint.Claim, bootID string) error {
	rec, err := endpoint.Store{Dir: c.StateDir.Endpoints()}.Read(args.ContainerID, args.IfName)
	switch {
	case errors.Is(err, endpoint.ErrNotFound) && !claim.Interrupted:
		return nil
	case errors.Is(err, endpoint.ErrNotFound), errors.Is(err, endpoint.ErrDamaged):
		rec, err = recordFromConf(c, args), nil
	case err == nil && rec.BootID == bootID:
		var linked bool
		if linked, err = kernel.HasHostLink(rec.HostLink); linked {
			return failf(codeAttached, "it is attached already, to %s, with %v; run DEL first", rec.Netns, rec.Addresses)
		}
	}
	if err != nil {
		return err
	}
	reserved := rec
	if claim.Interrupted {
		reserved.Addresses = nil // there may be more than the record tells: search
	}
	// Its link may wait for being deleted: who needs the name will see to that.
	if _, err := detach(ctx, rec, bootID, allocatorOf(reserved, bootID, args), claim.Discard); err != nil {
		return err
	}
	claim.Interrupted = false
	return nil
}

// attach is one ADD.
type attach struct {
	plugin
	conf
	args *protocol.Args
	// previous is the result of an earlier plugin of the chain; nil without one.
	previous *types100.Result
	node     statedir.Node
	netns    *kernel.PodNetns
	source   allocator
	claim    *endpoint.Claim
	log      *verbLog

	lease  lease
	record endpoint.Record
}

func (a *attach) run(ctx context.Context) error {
	undoing, cancel := context.WithTimeout(context.WithoutCancel(ctx), attachDeadline+undoDeadline)
	defer cancel()
	t := &transaction{before: a.beforeStep}
	first := []kernel.Step{
		{
			Name: "reserve addresses",
			Do:   func() (err error) { a.lease, err = a.source.allocate(ctx); return err },
			Undo: func() error { return a.source.release(undoing) },
		},
		{Name: "check the addresses", Do: a.checkAddresses},
		{Name: "forget who had them", Do: func() error { return forgetPredecessor(ctx, a.StateDir, a.lease.Addresses) }},
		{Name: "write the endpoint record", Do: func() error { return a.writeRecord(ctx) }, Undo: a.claim.Discard},
	}
	if err := t.run(ctx, first); err != nil {
		return err
	}
	link := a.podLink()
	last := a.netns.AttachSteps(ctx, link)
	if a.record.Bandwidth != (bandwidth.Limits{}) {
		last = append(last, kernel.Step{
			Name: "limit the bandwidth",
			Do: func() error {
				if err := limitBandwidth(ctx, a.record); err != nil {
					return errors.Join(err, unlimitBandwidth(a.record))
				}
				return nil
			},
			Undo: func() error { return unlimitBandwidth(a.record) },
		})
	}
	if len(a.record.HostPorts) > 0 {
		last = append(last, kernel.Step{
			Name: "open the host ports",
			Do:   func() error { return openHostPorts(ctx, a.record) },
			Undo: func() error {
				return portsOf{recorded: hostports.Targets(a.record.HostPorts, a.record.Addresses)}.close(undoing)
			},
		})
	}
	last = append(last, kernel.Step{Name: "print the result", Do: func() error { return a.print(link) }})
	for i, s := range last[:len(last)-1] {
		do := s.Do
		last[i].Do = func() error {
			if err := do(); err != nil {
				return kernelError(err)
			}
			return nil
		}
	}
	return t.run(ctx, last)
}

// checkAddresses looks at what only the allocator could tell: whether the MTU
// does for their families, and that none is of the link-local range that the
// pod's gateway and its neighbours are of.
func (a *attach) checkAddresses() error {
	for _, addr := range a.lease.Addresses {
		if addr.IsLinkLocalUnicast() || addr.IsMulticast() || addr.IsLoopback() {
			return failf(types.ErrInvalidNetworkConfig, "%s is no address that can be routed to a pod; use another pod CIDR or range", addr)
		}
		if addr.Is6() && a.node.MTU < minMTUIPv6 {
			return failf(types.ErrInvalidNetworkConfig, "mtu %d is below %d, which IPv6 requires (RFC 8200), and the pod has %v; raise mtu or use no IPv6 range", a.node.MTU, minMTUIPv6, a.lease.Addresses)
		}
	}
	return nil
}

func (a *attach) writeRecord(ctx context.Context) error {
	pairs, err := parseArgs(a.args.Args)
	if err != nil {
		return err
	}
	a.record = endpoint.Record{
		BootID:      a.node.BootID,
		ContainerID: a.args.ContainerID,
		IfName:      a.args.IfName,
		Network:     a.Name,
		Netns:       a.args.Netns,
		Pod:         podOf(pairs),
		HostLink:    endpoint.HostLink(a.args.ContainerID, a.args.IfName),
		MAC:         a.mac(),
		MTU:         a.node.MTU,
		Addresses:   a.lease.Addresses,
		Sources:     a.node.Sources,
		HostPorts:   a.HostPorts,
		DNS:         a.Asked.DNS,
		Aliases:     a.Asked.Aliases,
		Bandwidth:   a.Bandwidth,
		IPAM:        a.source.record(),
		Created:     time.Now().UTC(),
	}
	if len(a.record.HostPorts) > 0 {
		err = a.claimHostPorts(ctx)
	} else {
		err = a.claim.Write(a.record)
	}
	if err != nil {
		return errors.Join(err, a.claim.Discard()) // it may be there, though not durably
	}
	return nil
}

// mac is the one that was asked for, or one that a pod keeps as long as its
// container lives, so that no neighbour cache is ever wrong.
func (a *attach) mac() kernel.MAC {
	if a.MAC != (kernel.MAC{}) {
		return a.MAC
	}
	sum := sha256.Sum256([]byte("ropeway pod " + a.args.ContainerID + "\x00" + a.args.IfName))
	return kernel.LocallyAdministered(sum[:])
}

func (a *attach) podLink() kernel.PodLink {
	l := linkOf(a.record)
	l.Standalone = a.standalone()
	l.Routes = kernel.DefaultRoutes(l.Addresses)
	for _, dst := range a.lease.Routes {
		if l.HasFamilyOf(dst.Addr()) && !slices.Contains(l.Routes, dst) {
			l.Routes = append(l.Routes, dst)
		}
	}
	return l
}

// linkOf is the pod link of a record, without routes of the pod.
func linkOf(rec endpoint.Record) kernel.PodLink {
	return kernel.PodLink{
		Network: rec.Network, HostName: rec.HostLink, Name: rec.IfName, MAC: rec.MAC, MTU: rec.MTU,
		Addresses: rec.Addresses, Sources: rec.Sources,
		Loopback: onIPv4(hostports.Targets(rec.HostPorts, rec.Addresses)),
	}
}
