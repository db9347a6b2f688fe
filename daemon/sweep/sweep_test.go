package sweep

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/ropeway-net/ropeway/statedir"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 10 * time.Second

// running starts a sweeper; swept gets an element for each deletion.
func running(t *testing.T, s *Sweeper) (swept chan struct{}, end func()) {
	t.Helper()
	swept = make(chan struct{}, 1000)
	s.Delete = func(ctx context.Context) error {
		if _, ok := ctx.Deadline(); !ok {
			t.Error("deletion without a deadline")
		}
		if ctx.Err() != nil {
			return ctx.Err() // it came to its end meanwhile
		}
		swept <- struct{}{}
		return nil
	}
	s.Netns, s.Log = 7, slog.New(slog.DiscardHandler)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.Run(ctx)
	}()
	return swept, func() {
		cancel()
		await(t, done, "the end")
	}
}

func await[T any](t *testing.T, c <-chan T, what string) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(patience):
		t.Fatalf("%s did not come within %s", what, patience)
	}
}

func TestLinksAreDeletedAtStartWhenToldAndAtTheEnd(t *testing.T) {
	dir := statedir.Dir(t.TempDir())
	swept, end := running(t, &Sweeper{StateDir: dir, Gather: time.Millisecond, Again: time.Hour})
	await(t, swept, "the deletion at start")
	for range 3 {
		if !dir.HandOver(7) {
			t.Fatal("nobody listens")
		}
		await(t, swept, "the deletion after a notice")
	}
	end()
	await(t, swept, "the deletion at the end")
	if dir.HandOver(7) || len(dir.RetiredSockets()) > 0 {
		t.Error("plugins can still hand over")
	}
}

func TestManyNoticesAreOneDeletion(t *testing.T) {
	dir := statedir.Dir(t.TempDir())
	swept, end := running(t, &Sweeper{StateDir: dir, Gather: 200 * time.Millisecond, Again: time.Hour})
	await(t, swept, "the deletion at start")
	for range 200 {
		if !dir.HandOver(7) {
			t.Fatal("nobody listens")
		}
	}
	await(t, swept, "the deletion")
	end()
	if n := len(swept); n > 4 { // one for the end, and for a machine that stood still
		t.Errorf("200 notices were %d deletions", n+1)
	}
}

func TestLinksThatNobodyToldOfAreDeletedNowAndThen(t *testing.T) {
	swept, end := running(t, &Sweeper{StateDir: statedir.Dir(t.TempDir()), Gather: time.Hour, Again: time.Millisecond})
	for range 3 {
		await(t, swept, "a deletion by the clock")
	}
	end()
}

func TestWithoutASocketLinksAreDeletedByTheClock(t *testing.T) {
	swept, end := running(t, &Sweeper{StateDir: "/proc/no such directory", Gather: time.Hour, Again: time.Millisecond})
	for range 3 {
		await(t, swept, "a deletion by the clock")
	}
	end()
}

func TestFailingDeletionIsTriedAgain(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var tries atomic.Int32
	s := Sweeper{
		StateDir: statedir.Dir(t.TempDir()), Gather: time.Hour, Again: time.Millisecond, Log: slog.New(slog.DiscardHandler),
		Delete: func(context.Context) error {
			if tries.Add(1) == 3 {
				cancel()
			}
			return errors.New("broken")
		},
	}
	s.Run(ctx) // returns, for the third try ends it
}
