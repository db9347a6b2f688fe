package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/ropeway-net/ropeway/endpoint"
	"github.com/ropeway-net/ropeway/hostports"
	"github.com/ropeway-net/ropeway/kernel"
)

// claimHostPorts writes the record while nobody else can claim a port, and
// refuses one that another attachment holds. That one may be on its way out,
// so the runtime may try again.
func (a *attach) claimHostPorts(ctx context.Context) error {
	store := endpoint.Store{Dir: a.StateDir.Endpoints()}
	unlock, err := store.Lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	// A record that cannot be read claims nothing: its pod cannot be named,
	// and nobody but its DEL, which needs no record, can end that.
	records, _ := store.WithHostPorts()
	taken := hostports.Index[endpoint.Record]{}
	for _, r := range records {
		if r.BootID != a.record.BootID || r.ContainerID == a.record.ContainerID && r.IfName == a.record.IfName {
			continue
		}
		for _, t := range hostports.Targets(r.HostPorts, r.Addresses) {
			taken.Add(t, r)
		}
	}
	for _, t := range hostports.Targets(a.record.HostPorts, a.record.Addresses) {
		if other, owner, overlaps := taken.Find(t); overlaps {
			return failf(types.ErrTryAgainLater, "host port %s: %s holds %s; delete that pod or choose another host port", t, nameOf(owner), other)
		}
	}
	return a.claim.Write(a.record)
}

// nameOf names the pod of a record for messages.
func nameOf(r endpoint.Record) string {
	name := "container " + r.ContainerID + " (" + r.IfName + ")"
	if r.Pod.Name != "" {
		return "pod " + r.Pod.Namespace + "/" + r.Pod.Name + ", " + name + ","
	}
	return name
}

// openHostPorts leads the ports to the pod. The rule that keeps pods off the
// node's loopback is there before the link carries packets of it. UDP flows
// that began before, and so lead elsewhere, are forgotten.
func openHostPorts(ctx context.Context, rec endpoint.Record) error {
	targets := hostports.Targets(rec.HostPorts, rec.Addresses)
	if len(targets) == 0 {
		return nil
	}
	added, err := kernel.AddElements(ctx, hostports.Table(), func(t *kernel.Table) { hostports.Open(t, targets) })
	if !added && err == nil {
		err = kernel.UpdateTable(ctx, kernel.PartOf(hostports.Table()), func(actual *kernel.Table) *kernel.Table {
			t := hostports.Whole(actual)
			hostports.Open(t, targets)
			return t
		})
	}
	if err != nil {
		return fmt.Errorf("open host ports: %w", err)
	}
	if onIPv4(targets) {
		err = kernel.CarryLoopback(rec.HostLink)
	}
	if err == nil {
		err = forgetElsewhere(ctx, targets)
	}
	if err != nil {
		return errors.Join(err, portsOf{recorded: targets}.close(ctx))
	}
	return nil
}

func onIPv4(targets []hostports.Target) bool {
	for _, t := range targets {
		if t.Port.Addr().Is4() {
			return true
		}
	}
	return false
}

// forgetElsewhere forgets UDP flows to the ports that lead elsewhere: to a
// program on the node, or to a pod that had the port before.
func forgetElsewhere(ctx context.Context, targets []hostports.Target) error {
	udp := hostports.Index[netip.AddrPort]{}
	n := 0
	for _, t := range targets {
		if t.Key.Protocol == kernel.UDP {
			udp.Add(t, t.Port)
			n++
		}
	}
	if n == 0 {
		return nil
	}
	node, err := kernel.NodeAddresses(ctx)
	if err != nil {
		return err
	}
	_, err = kernel.ForgetUDP(ctx, func(f kernel.Flow) bool {
		if !node[f.To.Addr()] && !f.To.Addr().IsLoopback() {
			return false
		}
		_, leads, ours := udp.Find(hostports.Target{
			Key:  kernel.PortKey{Addr: f.To.Addr(), Protocol: kernel.UDP, Port: f.To.Port()},
			Port: f.To,
		})
		return ours && f.From != leads
	})
	return err
}

// portsOf are the host ports of one attachment: those that its record names,
// or, where it has none, whatever leads to the addresses that its link has.
type portsOf struct {
	recorded []hostports.Target
	pod      []netip.Addr
}

// none says that there is nothing to close.
func (p portsOf) none() bool { return len(p.recorded) == 0 && len(p.pod) == 0 }

// close takes the ports away, and makes the node forget the UDP flows that went
// that way: the next pod with the address must not get them. Both may be gone
// already, and the address may be another pod's by now: after a DEL that was
// killed when it had given the address back.
func (p portsOf) close(ctx context.Context) error {
	closed := p.recorded
	err := kernel.UpdateTable(ctx, kernel.PartOf(hostports.Elements()), func(actual *kernel.Table) *kernel.Table {
		if actual == nil {
			return nil
		}
		hostports.CloseTargets(actual, p.recorded)
		closed = append(slices.Clone(p.recorded), hostports.Close(actual, p.pod)...)
		return actual
	})
	if err != nil {
		return fmt.Errorf("close host ports: %w", err)
	}
	led := map[netip.AddrPort]bool{}
	for _, t := range closed {
		if t.Key.Protocol == kernel.UDP {
			led[t.Port] = true
		}
	}
	if len(led) == 0 {
		return nil
	}
	_, err = kernel.ForgetUDP(ctx, func(f kernel.Flow) bool { return f.Translated() && led[f.From] })
	return err
}

// portsToClose is what detaching a record must close. Of an earlier boot the
// kernel knows nothing. Without a record the link tells the addresses, as long
// as it is there.
func portsToClose(rec endpoint.Record, bootID string) (portsOf, error) {
	switch rec.BootID {
	case "":
		pod, err := kernel.PodLinkAddresses(rec.HostLink)
		return portsOf{pod: pod}, err
	case bootID:
		return portsOf{recorded: hostports.Targets(rec.HostPorts, rec.Addresses)}, nil
	}
	return portsOf{}, nil
}

// checkHostPorts compares the table with a record.
func checkHostPorts(ctx context.Context, rec endpoint.Record) error {
	targets := hostports.Targets(rec.HostPorts, rec.Addresses)
	if len(targets) == 0 {
		return nil
	}
	actual, err := kernel.ReadTable(ctx, kernel.PartOf(hostports.Table()))
	if err != nil {
		return err
	}
	return errors.Join(hostports.Missing(actual, targets)...)
}
