package scenarios

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ropeway-net/ropeway/integration/lab"
)

func trafficCommands() map[string]command {
	return map[string]command{
		"reach": reach, "reach-many": reachMany, "unreachable": unreachable, "refused": refused,
		"sees": sees, "df": df, "too-big": tooBig, "stream": stream, "stream-end": streamEnd,
	}
}

// probe sends a packet of size bytes (0: small) from one host to an echo server
// on another and back.
func probe(ctx context.Context, from, to host, dst netip.Addr, size int) error {
	server, err := to.ServeEcho(ctx, netip.AddrPortFrom(dst, 0))
	if err != nil {
		return err
	}
	defer server.Close()
	_, err = from.Probe(ctx, server.Addr, size)
	return err
}

// reach A B [C…]: each host sends to the next and to the last, and hears back,
// by UDP and HTTP, in every family that both have.
func reach(ctx context.Context, w *world, args []string) (string, error) {
	if err := want(args, "reach FROM TO [TO…]", 2, -1); err != nil {
		return "", err
	}
	hosts, err := w.hosts(args...)
	if err != nil {
		return "", err
	}
	for _, to := range hosts[1:] {
		if err := reachOne(ctx, hosts[0], to); err != nil {
			return "", err
		}
	}
	return "", nil
}

func reachOne(ctx context.Context, from, to host) error {
	return eachFamily(from, to, func(_ lab.Families, _, dst netip.Addr) error {
		if err := probe(ctx, from, to, dst, 0); err != nil {
			return fmt.Errorf("udp: %w", err)
		}
		if _, err := get(ctx, from, to, dst); err != nil {
			return fmt.Errorf("http: %w", err)
		}
		return nil
	})
}

func get(ctx context.Context, from, to host, dst netip.Addr) (lab.HTTPAnswer, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	server, err := to.ServeHTTP(ctx, netip.AddrPortFrom(dst, 0))
	if err != nil {
		return lab.HTTPAnswer{}, err
	}
	defer server.Close()
	return from.GetHTTP(ctx, server.Addr)
}

// reach-many N1 N2: every pod of a node reaches the node itself and the other
// node.
func reachMany(ctx context.Context, w *world, args []string) (string, error) {
	if err := want(args, "reach-many NODE OTHER", 2, 2); err != nil {
		return "", err
	}
	targets, err := w.hosts(args...)
	if err != nil {
		return "", err
	}
	var errs []error
	var mu sync.Mutex
	var group sync.WaitGroup
	slots := make(chan struct{}, 8)
	for _, p := range w.lab.Pods() {
		if p.Node.Name != args[0] {
			continue
		}
		group.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			for _, to := range targets {
				err := eachFamily(host{p.Namespace, p.Name, p.Addresses}, to, func(_ lab.Families, _, dst netip.Addr) error {
					return probe(ctx, host{Namespace: p.Namespace}, to, dst, 0)
				})
				mu.Lock()
				errs = append(errs, err)
				mu.Unlock()
			}
		})
	}
	group.Wait()
	if len(errs) == 0 {
		return "", fmt.Errorf("node %s has no pods", args[0])
	}
	return "", errors.Join(errs...)
}

// unreachable A B: nothing comes back in any family.
func unreachable(ctx context.Context, w *world, args []string) (string, error) {
	_, err := reachability(ctx, w, args)
	return "", err
}

// refused A B: an ICMP error comes back at once, in every family.
func refused(ctx context.Context, w *world, args []string) (string, error) {
	reasons, err := reachability(ctx, w, args)
	if err != nil {
		return "", err
	}
	for _, reason := range reasons {
		if !errors.Is(reason, unix.EHOSTUNREACH) && !errors.Is(reason, unix.ENETUNREACH) {
			return "", fmt.Errorf("not refused but: %w", reason)
		}
	}
	return "", nil
}

// reachability returns why each family does not get through; one that does is
// an error.
func reachability(ctx context.Context, w *world, args []string) ([]error, error) {
	if err := want(args, "unreachable|refused FROM TO", 2, 2); err != nil {
		return nil, err
	}
	hosts, err := w.hosts(args...)
	if err != nil {
		return nil, err
	}
	var reasons []error
	err = eachFamily(hosts[0], hosts[1], func(_ lab.Families, _, dst netip.Addr) error {
		soon, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		reason := probe(soon, hosts[0], hosts[1], dst, 0)
		if reason == nil {
			return errors.New("reached")
		}
		reasons = append(reasons, reason)
		return nil
	})
	return reasons, err
}

// sees FROM TO WHO: TO sees packets of FROM come from an address of WHO.
func sees(ctx context.Context, w *world, args []string) (string, error) {
	if err := want(args, "sees FROM TO WHO", 3, 3); err != nil {
		return "", err
	}
	hosts, err := w.hosts(args...)
	if err != nil {
		return "", err
	}
	who := hosts[2]
	return "", eachFamily(hosts[0], hosts[1], func(family lab.Families, _, dst netip.Addr) error {
		answer, err := get(ctx, hosts[0], hosts[1], dst)
		if err != nil {
			return err
		}
		if expected, _ := who.address(family); answer.Source != expected {
			return fmt.Errorf("seen as %s, not as %s's %s", answer.Source, who.name, expected)
		}
		return nil
	})
}

// podMTU is the MTU that the daemon gave the node's pods.
func (w *world) podMTU(n *lab.Node) (int, error) {
	facts, err := n.StateDir().ReadNode()
	return facts.MTU, err
}

// df POD TO: a packet of exactly the pod's MTU arrives whole and comes back; one
// byte more is refused by the pod's own interface.
func df(ctx context.Context, w *world, args []string) (string, error) {
	return w.atTheLimit(args, "df POD TO", func(from, to host, dst netip.Addr, mtu int) error {
		if err := probe(ctx, from, to, dst, mtu); err != nil {
			return fmt.Errorf("%d bytes: %w", mtu, err)
		}
		return expectTooBig(ctx, from, to, dst, mtu+1, mtu)
	})
}

// too-big POD TO: the pod's link is told a larger MTU than the path has; the
// node answers what does not fit with an ICMP that names the right MTU.
func tooBig(ctx context.Context, w *world, args []string) (string, error) {
	pod := w.lab.Pod(args[0])
	if pod == nil {
		return "", fmt.Errorf("too-big: %s is no pod", args[0])
	}
	return w.atTheLimit(args, "too-big POD TO", func(from, to host, dst netip.Addr, mtu int) error {
		restore, err := raiseLinkMTU(pod, mtu+200)
		if err != nil {
			return err
		}
		err = eventuallyTooBig(ctx, from, to, dst, mtu)
		if err == nil {
			err = probe(ctx, from, to, dst, mtu)
		}
		return errors.Join(err, restore())
	})
}

func (w *world) atTheLimit(args []string, usage string, check func(from, to host, dst netip.Addr, mtu int) error) (string, error) {
	if err := want(args, usage, 2, 2); err != nil {
		return "", err
	}
	hosts, err := w.hosts(args...)
	if err != nil {
		return "", err
	}
	pod := w.lab.Pod(args[0])
	if pod == nil {
		return "", fmt.Errorf("%s is no pod", args[0])
	}
	mtu, err := w.podMTU(pod.Node)
	if err != nil {
		return "", err
	}
	return "mtu " + strconv.Itoa(mtu), eachFamily(hosts[0], hosts[1], func(_ lab.Families, _, dst netip.Addr) error {
		return check(hosts[0], hosts[1], dst, mtu)
	})
}

func expectTooBig(ctx context.Context, from, to host, dst netip.Addr, size, mtu int) error {
	err := probe(ctx, from, to, dst, size)
	var tooBig *lab.TooBigError
	switch {
	case err == nil:
		return fmt.Errorf("%d bytes went through an MTU of %d", size, mtu)
	case !errors.As(err, &tooBig):
		return fmt.Errorf("%d bytes vanished instead of being refused: %w", size, err)
	case tooBig.MTU != mtu:
		return fmt.Errorf("%d bytes were refused with an MTU of %d instead of %d", size, tooBig.MTU, mtu)
	}
	return nil
}

// eventuallyTooBig expects an ICMP from a router on the way. The first packet
// may be lost while the sender learns.
func eventuallyTooBig(ctx context.Context, from, to host, dst netip.Addr, mtu int) error {
	var err error
	for range 5 {
		if err = expectTooBig(ctx, from, to, dst, mtu+1, mtu); err == nil {
			return nil
		}
	}
	return err
}

// stream NAME FROM TO: packets flow, one per millisecond and family.
func stream(ctx context.Context, w *world, args []string) (string, error) {
	if err := want(args, "stream NAME FROM TO", 3, 3); err != nil {
		return "", err
	}
	hosts, err := w.hosts(args[1:]...)
	if err != nil {
		return "", err
	}
	return "", eachFamily(hosts[0], hosts[1], func(family lab.Families, _, dst netip.Addr) error {
		first, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		s, err := lab.StartStream(first, hosts[0].Namespace, hosts[1].Namespace, dst, 0)
		if err == nil {
			w.streams[args[0]+" "+string(family)] = s
		}
		return err
	})
}

// stream-end NAME: not one packet of the stream was lost.
func streamEnd(_ context.Context, w *world, args []string) (string, error) {
	if err := want(args, "stream-end NAME", 1, 1); err != nil {
		return "", err
	}
	var output string
	var errs []error
	for _, family := range []lab.Families{lab.IPv4, lab.IPv6} {
		name := args[0] + " " + string(family)
		s, ok := w.streams[name]
		if !ok {
			continue
		}
		delete(w.streams, name)
		stats := s.Stop()
		output += fmt.Sprintf("%s: %s\n", name, stats)
		if !stats.Clean() {
			errs = append(errs, fmt.Errorf("stream %s: %s", name, stats))
		}
	}
	if output == "" {
		return "", fmt.Errorf("no stream %s", args[0])
	}
	return output, errors.Join(errs...)
}
