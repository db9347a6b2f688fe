package scenarios

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ropeway-net/ropeway/integration/lab"
)

func hostPortCommands() map[string]command {
	return map[string]command{"attach-ports": attachPorts, "hostport": hostPort}
}

// attach-ports NODE POD [HOSTIP,]HOSTPORT:PORT/PROTOCOL…: a pod with host ports,
// attached by CNI ADD.
func attachPorts(ctx context.Context, w *world, args []string) (string, error) {
	if err := want(args, "attach-ports NODE POD [HOSTIP,]HOSTPORT:PORT/PROTOCOL…", 3, -1); err != nil {
		return "", err
	}
	n, err := w.node(args[0])
	if err != nil {
		return "", err
	}
	var ports []lab.PortMapping
	for _, text := range args[2:] {
		p, malformed := w.parsePort(text)
		if malformed != nil {
			return "", malformed
		}
		ports = append(ports, p)
	}
	p, err := n.AttachPod(ctx, args[1], ports...)
	if err == nil {
		err = p.Check(ctx)
	}
	if err != nil {
		return "", describe(err)
	}
	return "", nil
}

// parsePort reads [HOSTIP,]HOSTPORT:PORT/PROTOCOL, where HOSTIP may be the name
// of a node, for its IPv4 address.
func (w *world) parsePort(text string) (p lab.PortMapping, err error) {
	rest := text
	if on, after, found := strings.Cut(text, ","); found {
		p.HostIP, rest = on, after
		if n := w.lab.Node(on); n != nil {
			a, _ := (host{addresses: n.Facts().Addresses}).address(lab.IPv4)
			p.HostIP = a.String()
		}
	}
	if _, err = fmt.Sscanf(strings.NewReplacer(":", " ", "/", " ").Replace(rest), "%d %d %s", &p.HostPort, &p.ContainerPort, &p.Protocol); err != nil {
		return p, fmt.Errorf("%q is not [HOSTIP,]HOSTPORT:PORT/PROTOCOL: %w", text, err)
	}
	return p, nil
}

// hostport FROM TO HOSTPORT:PORT/PROTOCOL POD [FAMILY]: what FROM sends to that
// port of TO, a node or an address, POD answers on its port: in every family
// that all three have, or in the one given.
func hostPort(ctx context.Context, w *world, args []string) (string, error) {
	if err := want(args, "hostport FROM TO HOSTPORT:PORT/PROTOCOL POD [FAMILY]", 4, 5); err != nil {
		return "", err
	}
	hosts, err := w.hosts(args[0], args[3])
	if err != nil {
		return "", err
	}
	from, pod := hosts[0], hosts[1]
	to, err := w.target(args[1])
	if err != nil {
		return "", err
	}
	port, err := w.parsePort(args[2])
	if err != nil {
		return "", err
	}
	tried := 0
	for _, family := range []lab.Families{lab.IPv4, lab.IPv6} {
		dst, toOK := to.address(family)
		inner, podOK := pod.address(family)
		if _, fromOK := from.address(family); !toOK || !podOK || !fromOK || len(args) == 5 && args[4] != string(family) {
			continue
		}
		tried++
		server := netip.AddrPortFrom(inner, uint16(port.ContainerPort))
		if err := answers(ctx, from, pod, port.Protocol, netip.AddrPortFrom(dst, uint16(port.HostPort)), server); err != nil {
			return "", fmt.Errorf("%s to %s port %s, %s: %w", args[0], dst, args[2], args[3], err)
		}
	}
	if tried == 0 {
		return "", fmt.Errorf("%s, %s and %s have no address family in common", args[0], args[1], args[3])
	}
	return "", nil
}

// target is a node, a pod, or an address by itself.
func (w *world) target(name string) (host, error) {
	if a, err := netip.ParseAddr(name); err == nil {
		return host{name: name, addresses: []netip.Addr{a}}, nil
	}
	return w.host(name)
}

// answers says whether a server on pod hears what is sent to another address.
// Nobody else listens there.
func answers(ctx context.Context, from, pod host, protocol string, to, server netip.AddrPort) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second) // an INIT of SCTP that is lost comes again after 3
	defer cancel()
	switch protocol {
	case "tcp":
		s, err := whenFree(ctx, func() (*lab.HTTPServer, error) { return pod.ServeHTTP(ctx, server) })
		if err != nil {
			return err
		}
		_, err = from.GetHTTP(ctx, to)
		return errors.Join(err, s.Close())
	case "udp":
		s, err := whenFree(ctx, func() (*lab.EchoServer, error) { return pod.ServeEcho(ctx, server) })
		if err != nil {
			return err
		}
		_, err = from.Probe(ctx, to, 0)
		return errors.Join(err, s.Close())
	case "sctp":
		return lab.AssociateSCTP(ctx, from.Namespace, to, pod.Namespace, server)
	}
	return fmt.Errorf("no protocol %q", protocol)
}

// whenFree listens as soon as the port is free. A program that is just being
// started by another scenario keeps a socket for a moment that we have closed.
func whenFree[Server any](ctx context.Context, listen func() (Server, error)) (Server, error) {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		s, err := listen()
		if !errors.Is(err, unix.EADDRINUSE) {
			return s, err
		}
		select {
		case <-ctx.Done():
			return s, err
		case <-tick.C:
		}
	}
}
