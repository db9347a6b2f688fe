package reconcile

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"

	"github.com/ropeway-net/ropeway/daemon/status"
	"github.com/ropeway-net/ropeway/ipam"
)

// Shares of a pod CIDR in per cent: a notice is given at the one, and may be
// given again after the other.
const (
	nearlyFull = 90
	roomAgain  = 80
)

// Usage counts the reservations in this node's pod CIDRs.
func Usage(ctx context.Context, cfg Config, podCIDRs []netip.Prefix) ([]ipam.Usage, error) {
	if len(podCIDRs) == 0 {
		return nil, nil
	}
	netconf, err := json.Marshal(map[string]any{
		"name": cfg.Conflist.Network,
		"ipam": map[string]any{"type": "ropeway-ipam", "dataDir": cfg.Conflist.NetworksDir},
	})
	if err != nil {
		return nil, fmt.Errorf("encode network configuration: %w", err)
	}
	pool, err := ipam.ParseConfig(netconf, "", podCIDRs)
	if err != nil {
		return nil, err
	}
	return ipam.Open(pool.Dir(), cfg.BootID).Usage(ctx, pool)
}

// pool is what is known of the addresses that pods can still have.
type pool struct {
	pods int             // when the reservations were last counted
	told map[string]bool // range sets that are said to be nearly full
}

// lookAtPool counts the reservations if pods have come or gone since.
func (l *Loop) lookAtPool(ctx context.Context, d Decision) {
	if l.pool.told != nil && l.pool.pods == d.Pods {
		return
	}
	usage, err := Usage(ctx, l.cfg, d.Self.PodCIDRs)
	if err != nil {
		l.log.Debug("reservations cannot be counted", "cause", err.Error())
		return
	}
	told := map[string]bool{}
	for _, u := range usage {
		set := u.RangeSet.String()
		share := float64(u.Used) / float64(max(u.Total, 1)) * 100
		told[set] = l.pool.told[set] && share >= roomAgain
		if share < nearlyFull || told[set] {
			continue
		}
		told[set] = true
		message := fmt.Sprintf("%d of %d addresses of %s are in use; let fewer pods run here, or give the node a larger pod CIDR", u.Used, u.Total, set)
		l.log.Warn("few pod addresses are left", "cause", message)
		l.cfg.Notify(status.Notice{Warning: true, Reason: status.PoolNearlyFull, Message: message})
	}
	l.pool = pool{pods: d.Pods, told: told}
}
