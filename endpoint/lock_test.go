package endpoint

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestOneAtATimeHoldsTheLock(t *testing.T) {
	s := Store{Dir: filepath.Join(t.TempDir(), "new", "endpoints")}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	unlock, err := s.Lock(ctx)
	if err != nil {
		t.Fatal(err)
	}
	short, stop := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer stop()
	if _, err = s.Lock(short); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "fuser -v "+s.Dir) {
		t.Errorf("got %v, want the deadline and a remedy", err)
	}
	next := make(chan error, 1)
	go func() {
		release, cause := s.Lock(ctx)
		if cause == nil {
			release()
		}
		next <- cause
	}()
	unlock()
	if err := <-next; err != nil {
		t.Error(err)
	}
	if records, err := s.List(); err != nil || len(records) != 0 {
		t.Errorf("the lock left %v, error %v", records, err)
	}
}
