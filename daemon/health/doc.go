// Package health tells machines how the daemon is: /healthz for the kubelet,
// which restarts what is stuck, /readyz for a rollout, which waits for what is
// not ready, and /metrics for Prometheus. Whatever can be asked for is asked
// for when somebody reads; nothing runs meanwhile.
package health

import (
	"context"

	"github.com/ropeway-net/ropeway/daemon/status"
	"github.com/ropeway-net/ropeway/ipam"
)

// View is what the daemon shows of itself. Functions that are nil show nothing.
type View struct {
	Report func() status.Report
	// Alive returns why the daemon should be restarted, nil if it should not.
	Alive func(context.Context) error
	// Addresses counts the pod addresses that are given out.
	Addresses func(context.Context) ([]ipam.Usage, error)
}
