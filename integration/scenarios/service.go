package scenarios

import (
	"context"
	"fmt"
	"net/netip"
	"strconv"
	"time"

	"github.com/ropeway-net/ropeway/integration/lab"
)

func serviceCommands() map[string]command {
	return map[string]command{"serve": serve, "request": request}
}

// serve PORT POD…: each pod answers HTTP and UDP there, in all its families,
// until the script ends.
func serve(ctx context.Context, w *world, args []string) (string, error) {
	if err := want(args, "serve PORT POD…", 2, -1); err != nil {
		return "", err
	}
	port, err := strconv.ParseUint(args[0], 10, 16)
	if err != nil {
		return "", err
	}
	pods, err := w.hosts(args[1:]...)
	if err != nil {
		return "", err
	}
	for _, pod := range pods {
		for _, a := range pod.addresses {
			on := netip.AddrPortFrom(a, uint16(port))
			tcp, err := pod.ServeHTTP(ctx, on)
			if err != nil {
				return "", err
			}
			w.servers = append(w.servers, tcp)
			udp, err := pod.ServeEcho(ctx, on)
			if err != nil {
				return "", err
			}
			w.servers = append(w.servers, udp)
		}
	}
	return "", nil
}

// request FROM ADDRESS:PORT [WHO]: what was put there with `serve` answers by
// HTTP and UDP; with WHO, the server sees a client with an address of WHO.
func request(ctx context.Context, w *world, args []string) (string, error) {
	if err := want(args, "request FROM ADDRESS:PORT [WHO]", 2, 3); err != nil {
		return "", err
	}
	to, err := netip.ParseAddrPort(args[1])
	if err != nil {
		return "", err
	}
	from, err := w.host(args[0])
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	echo, err := from.Probe(ctx, to, 0)
	if err != nil {
		return "", fmt.Errorf("udp: %w", err)
	}
	answer, err := from.GetHTTP(ctx, to)
	if err != nil {
		return "", fmt.Errorf("http: %w", err)
	}
	w.logf("udp %s, http %s", echo.RoundTrip.Round(time.Microsecond), answer.Duration.Round(time.Microsecond))
	output := fmt.Sprintf("seen as %s\n", answer.Source)
	if len(args) < 3 {
		return output, nil
	}
	who, err := w.host(args[2])
	if err != nil {
		return output, err
	}
	if expected, _ := who.address(lab.FamilyOf(to.Addr())); answer.Source != expected {
		return output, fmt.Errorf("seen as %s, not as %s's %s", answer.Source, who.name, expected)
	}
	return output, nil
}
