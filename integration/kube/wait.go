package kube

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// diagnosisTimeout bounds what is collected after a failure.
const diagnosisTimeout = 20 * time.Second

// final is an error after which waiting is of no use.
type final struct{ error }

// until calls check until it returns nil or a final error, or ctx ends; then
// the error holds the last one of check.
func until(ctx context.Context, check func() error) error {
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for {
		err := check()
		if err == nil {
			return nil
		}
		var f final
		if errors.As(err, &f) {
			return f.error
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", context.Cause(ctx), err)
		case <-ticker.C:
		}
	}
}
