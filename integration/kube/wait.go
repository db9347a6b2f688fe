package kube

import (
	"context"
	"time"

	"github.com/ropeway-net/ropeway/integration/lab"
)

// diagnosisTimeout bounds what is collected after a failure.
const diagnosisTimeout = 20 * time.Second

// until calls check until it returns nil or a [lab.Final] error, or ctx ends.
func until(ctx context.Context, check func() error) error {
	return lab.Poll(ctx, 50*time.Millisecond, check)
}
