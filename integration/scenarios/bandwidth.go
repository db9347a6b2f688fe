package scenarios

import (
	"context"
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/ropeway-net/ropeway/integration/lab"
)

func bandwidthCommands() map[string]command {
	return map[string]command{"attach-limited": attachLimited, "rate": rate}
}

const megabit = 1_000_000

// attach-limited NODE POD INGRESS EGRESS: a pod that receives and sends so many
// Mbit/s at most, 0 being no limit, attached by CNI ADD as containerd does.
func attachLimited(ctx context.Context, w *world, args []string) (string, error) {
	if err := want(args, "attach-limited NODE POD INGRESS EGRESS", 4, 4); err != nil {
		return "", err
	}
	n, err := w.node(args[0])
	if err != nil {
		return "", err
	}
	var limits lab.Bandwidth
	for i, to := range []struct{ rate, burst *uint64 }{{&limits.IngressRate, &limits.IngressBurst}, {&limits.EgressRate, &limits.EgressBurst}} {
		mbits, malformed := strconv.ParseUint(args[2+i], 10, 32)
		if malformed != nil {
			return "", malformed
		}
		if mbits > 0 {
			*to.rate, *to.burst = mbits*megabit, math.MaxUint32
		}
	}
	p, err := n.AttachLimitedPod(ctx, args[1], limits)
	if err == nil {
		err = p.Check(ctx)
	}
	if err != nil {
		return "", describe(err)
	}
	return "", nil
}

// rate FROM TO LEAST..MOST: a TCP connection in each family that both have
// carries that many Mbit/s of data, MOST may be left out.
func rate(ctx context.Context, w *world, args []string) (string, error) {
	if err := want(args, "rate FROM TO LEAST..MOST", 3, 3); err != nil {
		return "", err
	}
	hosts, err := w.hosts(args[0], args[1])
	if err != nil {
		return "", err
	}
	lower, upper, _ := strings.Cut(args[2], "..")
	least, err := strconv.ParseFloat(lower, 64)
	if err != nil {
		return "", err
	}
	most := math.Inf(1)
	if upper != "" {
		if most, err = strconv.ParseFloat(upper, 64); err != nil {
			return "", err
		}
	}
	return "", eachFamily(hosts[0], hosts[1], func(_ lab.Families, _, dst netip.Addr) error {
		server, err := hosts[1].ServeBulk(ctx, netip.AddrPortFrom(dst, 0))
		if err != nil {
			return err
		}
		defer func() { _ = server.Close() }()
		t, err := hosts[0].SendBulk(ctx, server.Addr, 400*time.Millisecond)
		if err != nil {
			return err
		}
		mbits := t.BitsPerSecond() / megabit
		w.logf("%s to %s: %.2f Mbit/s", args[0], server.Addr, mbits)
		if mbits < least || mbits > most {
			return fmt.Errorf("%.2f Mbit/s, not %s", mbits, args[2])
		}
		return nil
	})
}
