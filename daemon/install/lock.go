package install

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// patience is how long another installation may take: it copies some files.
const (
	patience = time.Minute
	interval = 20 * time.Millisecond
)

// lock keeps installations into the same directory one after the other. The
// directory itself is locked, so that no file is added to it.
func lock(ctx context.Context, dir string) (unlock func(), err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	d, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("plugin directory: %w", explain(err, dir))
	}
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		err = unix.Flock(int(d.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { _ = d.Close() }, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			_ = d.Close()
			return nil, fmt.Errorf("lock plugin directory %s: %w", dir, err)
		}
		select {
		case <-ctx.Done():
			_ = d.Close()
			return nil, fmt.Errorf("lock plugin directory %s: another installation holds it, %w; see: fuser %s", dir, ctx.Err(), dir)
		case <-ticker.C:
		}
	}
}
