package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"time"

	"github.com/ropeway-net/ropeway/daemon/status"
	"github.com/ropeway-net/ropeway/daemon/topology"
	"github.com/ropeway-net/ropeway/integration/lab"
)

// Ports of the servers in every pod.
const (
	echoPort = 7
	httpPort = 80
	bulkPort = 5001
)

// session is the traffic in one lab.
type session struct {
	mode    topology.Mode
	reports map[string]status.Report // by node
	bulk    time.Duration
	servers []io.Closer
}

// row is what two pods exchanged in one family.
type row struct {
	a, b       *lab.Pod
	family     lab.Families
	via        string
	why        string
	roundTrip  time.Duration
	throughput float64 // bits per second
	err        error
}

func newSession(ctx context.Context, l *lab.Lab, bulk time.Duration) (*session, error) {
	found, err := reports(ctx, l)
	return &session{mode: l.Options().Mode, reports: found, bulk: bulk}, err
}

// serve starts servers on every address of every pod.
func (s *session) serve(ctx context.Context, pods []*lab.Pod) error {
	for _, p := range pods {
		for _, address := range p.Addresses {
			echo, err := p.ServeEcho(ctx, netip.AddrPortFrom(address, echoPort))
			if err != nil {
				return err
			}
			s.servers = append(s.servers, echo)
			web, err := p.ServeHTTP(ctx, netip.AddrPortFrom(address, httpPort))
			if err != nil {
				return err
			}
			s.servers = append(s.servers, web)
			bulk, err := p.ServeBulk(ctx, netip.AddrPortFrom(address, bulkPort))
			if err != nil {
				return err
			}
			s.servers = append(s.servers, bulk)
		}
	}
	return nil
}

func (s *session) close() {
	for _, server := range s.servers {
		_ = server.Close() // the lab ends anyway
	}
}

// exchange sends an HTTP request each way and a bulk transfer from a to b, and
// measures the round trip.
func (s *session) exchange(ctx context.Context, a, b *lab.Pod, family lab.Families) row {
	r := row{a: a, b: b, family: family}
	dst := b.Address(family)
	if !dst.IsValid() || !a.Address(family).IsValid() {
		r.err = fmt.Errorf("not both pods have an %s address", family)
		return r
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	var errs [5]error
	r.via, r.why, errs[0] = s.path(a, b, dst)
	errs[1] = request(ctx, a, b, family)
	errs[2] = request(ctx, b, a, family)
	r.roundTrip, errs[3] = a.RoundTrip(ctx, netip.AddrPortFrom(dst, echoPort), 5)
	transfer, err := a.SendBulk(ctx, netip.AddrPortFrom(dst, bulkPort), s.bulk)
	if err != nil {
		errs[4] = fmt.Errorf("bulk transfer: %w", err)
	} else {
		r.throughput = transfer.BitsPerSecond()
	}
	r.err = errors.Join(errs[:]...)
	return r
}

// request sends an HTTP request; between pods no address may be translated.
func request(ctx context.Context, from, to *lab.Pod, family lab.Families) error {
	answer, err := from.GetHTTP(ctx, netip.AddrPortFrom(to.Address(family), httpPort))
	if err != nil {
		return fmt.Errorf("HTTP from %s to %s: %w", from.Name, to.Name, err)
	}
	if own := from.Address(family); answer.Source != own {
		return fmt.Errorf("HTTP from %s: %s saw it come from %s instead of %s", from.Name, to.Name, answer.Source, own)
	}
	return nil
}

// path is what a's node says about the way to b, and whether the mode means it
// to be so.
func (s *session) path(a, b *lab.Pod, dst netip.Addr) (via, why string, err error) {
	if a.Node == b.Node {
		return "same node", "both on " + a.Node.Name, nil
	}
	for _, p := range s.reports[a.Node.Name].Paths {
		if p.Peer != b.Node.Name || !p.PodCIDR.Contains(dst) {
			continue
		}
		want := expected(s.mode, a.Node.Subnet == b.Node.Subnet, dst)
		if p.Via != want {
			err = fmt.Errorf("mode %s should go by %s, not %s (%s)", s.mode, want, p.Via, p.Reason)
		}
		return string(p.Via), p.Reason, err
	}
	return "none", "", fmt.Errorf("node %s reports no path to %s on %s", a.Node.Name, dst, b.Node.Name)
}

// expected is what carries a path in the demo's labs, whose nodes have an IPv4
// address first.
func expected(mode topology.Mode, sameSubnet bool, dst netip.Addr) topology.Via {
	crossSubnet := mode == topology.VXLANCrossSubnet || mode == topology.IPIPCrossSubnet
	switch {
	case mode == topology.Direct || crossSubnet && sameSubnet:
		return topology.ViaDirect
	case mode == topology.VXLAN || mode == topology.VXLANCrossSubnet:
		return topology.ViaVXLAN
	case dst.Is4():
		return topology.ViaIPIP
	}
	return topology.ViaSIT
}
