package coalesce

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// datagrams are a pair of sockets and what has been read of them.
type datagrams struct {
	reader, writer int
	readings       atomic.Int64
	read           atomic.Int64 // datagrams
}

func newDatagrams(t *testing.T) *datagrams {
	t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = unix.Close(pair[0]), unix.Close(pair[1]) })
	return &datagrams{reader: pair[0], writer: pair[1]}
}

func (d *datagrams) source() Source {
	return Source{FD: d.reader, Read: func() error {
		d.readings.Add(1)
		for buf := make([]byte, 16); ; {
			n, _, err := unix.Recvfrom(d.reader, buf, unix.MSG_DONTWAIT)
			switch {
			case errors.Is(err, unix.EAGAIN):
				return nil
			case err != nil:
				return err
			case string(buf[:n]) == "fail":
				return errors.New("asked to fail")
			}
			d.read.Add(1)
		}
	}}
}

func (d *datagrams) send(t *testing.T, text string) {
	t.Helper()
	if _, err := unix.Write(d.writer, []byte(text)); err != nil {
		t.Fatal(err)
	}
}

// await waits for a condition.
func await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within 20 s", what)
		}
	}
}

// run starts Run and returns what ends it and its error.
func run(t *testing.T, rest time.Duration, sources ...Source) (stop context.CancelFunc, ended <-chan error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	c := make(chan error, 1)
	go func() { c <- Run(ctx, rest, sources...) }()
	return cancel, c
}

func TestWhatFollowsTheFirstIsReadTogether(t *testing.T) {
	d := newDatagrams(t)
	const rest = time.Minute // so that a slow machine changes nothing
	stop, ended := run(t, rest, d.source())
	d.send(t, "first")
	await(t, "the first is read at once", func() bool { return d.read.Load() == 1 })
	for range 5 {
		d.send(t, "more")
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if n := d.readings.Load(); n != 1 || d.read.Load() != 1 {
		t.Errorf("%d readings, %d datagrams; want one of one until the rest is over", n, d.read.Load())
	}
}

func TestNothingIsForgottenWhileItRests(t *testing.T) {
	a, b := newDatagrams(t), newDatagrams(t)
	stop, ended := run(t, 2*time.Millisecond, a.source(), b.source())
	const each = 40
	for range each {
		a.send(t, "a")
		b.send(t, "b")
		await(t, "both are read", func() bool { return a.read.Load() == b.read.Load() })
	}
	await(t, "all are read", func() bool { return a.read.Load() == each && b.read.Load() == each })
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestEndsWithItsContextWhetherItWaitsOrRests(t *testing.T) {
	for name, first := range map[string]bool{"waits": false, "rests": true} {
		d := newDatagrams(t)
		stop, ended := run(t, time.Hour, d.source())
		if first {
			d.send(t, "first")
			await(t, "the first is read", func() bool { return d.read.Load() == 1 })
		}
		stop()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
		case <-time.After(20 * time.Second):
			t.Errorf("%s: not ended", name)
		}
	}
}

func TestEndsWithTheErrorOfASource(t *testing.T) {
	d := newDatagrams(t)
	_, ended := run(t, time.Millisecond, d.source())
	d.send(t, "fail")
	if err := <-ended; err == nil || err.Error() != "asked to fail" {
		t.Errorf("error %v", err)
	}
}

func TestContextThatHasEndedBeforeEndsIt(t *testing.T) {
	d := newDatagrams(t)
	d.send(t, "first")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Run(ctx, time.Hour, d.source()); err != nil {
		t.Error(err)
	}
}
