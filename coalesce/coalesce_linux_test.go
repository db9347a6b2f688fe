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
	rests          bool
	each           bool         // one datagram a reading
	readings       atomic.Int64 // that have ended
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

func (d *datagrams) take() (bool, error) {
	defer d.readings.Add(1)
	for buf := make([]byte, 16); ; {
		n, _, err := unix.Recvfrom(d.reader, buf, unix.MSG_DONTWAIT)
		switch {
		case errors.Is(err, unix.EAGAIN):
			return d.rests, nil
		case err != nil:
			return false, err
		case string(buf[:n]) == "fail":
			return false, errors.New("asked to fail")
		}
		d.read.Add(1)
		if d.each {
			return d.rests, nil
		}
	}
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

// run starts a reader and returns what ends it and its error.
func run(t *testing.T, d *datagrams, rest time.Duration) (r *Reader, stop context.CancelFunc, ended <-chan error) {
	t.Helper()
	r, err := New(d.reader)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	c := make(chan error, 1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		c <- r.Run(ctx, rest, d.take)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return r, cancel, c
}

// tells says whether the reader's poller has something to tell at this moment.
func tells(t *testing.T, r *Reader) bool {
	t.Helper()
	var ready int
	err := r.raw.Control(func(own uintptr) {
		ready, _ = unix.Poll([]unix.PollFd{{Fd: int32(own), Events: unix.POLLIN}}, 0)
	})
	if err != nil {
		t.Fatal(err)
	}
	return ready > 0
}

func TestWhatFollowsTheFirstWakesNobodyWhileItRests(t *testing.T) {
	d := newDatagrams(t)
	d.rests = true
	r, stop, ended := run(t, d, time.Hour) // so that a slow machine changes nothing
	d.send(t, "first")
	await(t, "the first is read at once", func() bool { return d.readings.Load() == 1 })
	for range 5 {
		d.send(t, "more")
		if tells(t, r) {
			t.Fatal("the poller tells of what comes while it rests")
		}
	}
	time.Sleep(50 * time.Millisecond) // for whoever would read too early
	if n := d.readings.Load(); n != 1 || d.read.Load() != 1 {
		t.Errorf("%d readings, %d datagrams; want one of one until the rest is over", n, d.read.Load())
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestWithoutARestEachIsReadAtOnce(t *testing.T) {
	d := newDatagrams(t)
	run(t, d, time.Hour)
	for i := range int64(20) {
		d.send(t, "one")
		await(t, "it is read", func() bool { return d.read.Load() == i+1 })
	}
}

func TestNothingIsForgotten(t *testing.T) {
	for name, each := range map[string]bool{"all at a time": false, "one at a time": true} {
		d := newDatagrams(t)
		d.rests, d.each = true, each
		run(t, d, 2*time.Millisecond)
		const count = 40
		for range count {
			d.send(t, "one")
		}
		await(t, name, func() bool { return d.read.Load() == count })
	}
}

func TestEndsWithItsContextWhetherItWaitsOrRests(t *testing.T) {
	for name, first := range map[string]bool{"waits": false, "rests": true} {
		d := newDatagrams(t)
		d.rests = true
		_, stop, ended := run(t, d, time.Hour)
		if first {
			d.send(t, "first")
			await(t, "the first is read", func() bool { return d.readings.Load() == 1 })
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

func TestEndsWithTheErrorOfTheReading(t *testing.T) {
	d := newDatagrams(t)
	_, _, ended := run(t, d, time.Millisecond)
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
	r, err := New(d.reader)
	if err == nil {
		err = r.Run(ctx, time.Hour, d.take)
	}
	if err != nil {
		t.Error(err)
	}
}

func TestDescriptorThatCannotBeWaitedForIsAnError(t *testing.T) {
	if _, err := New(-1); !errors.Is(err, unix.EBADF) {
		t.Errorf("error %v", err)
	}
}
