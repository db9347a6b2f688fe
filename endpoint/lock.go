package endpoint

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/ropeway-net/ropeway/statedir"
)

// Lock keeps others that lock from writing records, until unlock or the end of
// the process: who must compare a record with all others before it is written
// needs that. ctx must have a deadline.
func (s Store) Lock(ctx context.Context) (unlock func(), err error) {
	f, err := os.Open(s.Dir)
	if errors.Is(err, os.ErrNotExist) {
		if err = os.MkdirAll(s.Dir, 0o755); err == nil {
			f, err = os.Open(s.Dir)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("lock the endpoint records: %w", err)
	}
	if err := statedir.Lock(ctx, f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return func() { _ = f.Close() }, nil
}
