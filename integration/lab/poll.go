package lab

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Poll calls check until it returns nil, or an error that is final, or ctx
// ends; then the error holds the last one of check.
func Poll(ctx context.Context, every time.Duration, check func() error) error {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		err := check()
		if err == nil {
			return nil
		}
		var f Final
		if errors.As(err, &f) {
			return f.Cause
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ctx.Err(), err)
		case <-ticker.C:
		}
	}
}

// Final is an error after which waiting is of no use.
type Final struct{ Cause error }

func (f Final) Error() string { return f.Cause.Error() }
