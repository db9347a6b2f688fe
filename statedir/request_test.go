package statedir

import (
	"net"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestReportArrivesAsItWasSent(t *testing.T) {
	dir := Dir(t.TempDir())
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: dir.RequestsSocket(), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, sent := range []Request{
		{Verb: "ADD", Took: 12345 * time.Microsecond},
		{Verb: "STATUS", Code: 999, Took: time.Hour},
		{Verb: "CHECK", Code: 4294967295, Took: time.Hour},
	} {
		dir.Report(sent)
		buf := make([]byte, 2*MaxRequest)
		if err := l.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		n, err := l.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		if n > MaxRequest {
			t.Errorf("%q is longer than %d bytes", buf[:n], MaxRequest)
		}
		got, err := ParseRequest(buf[:n])
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(sent, got); diff != "" {
			t.Errorf("(-sent +got):\n%s", diff)
		}
	}
}

func TestReportWaitsForNobody(t *testing.T) {
	dir := Dir(t.TempDir())
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: dir.RequestsSocket(), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 10_000 { // nobody reads: the socket is full after a few
			dir.Report(Request{Verb: "ADD"})
		}
		Dir("/nowhere").Report(Request{Verb: "ADD"})
		Dir("/" + strings.Repeat("x", 200)).Report(Request{Verb: "ADD"})
	}()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Fatal("it waits")
	}
}

func TestReportsOfOthersAreRefused(t *testing.T) {
	for _, bad := range []string{
		"", "ADD 0 1", "ropeway/1 ADD 0", "ropeway/1 ADD 0 1 2", "ropeway/2 ADD 0 1", "ropeway/1 add 0 1", "ropeway/1 VERSION 0 1",
		"ropeway/1 ADD -1 1", "ropeway/1 ADD 0 -1", "ropeway/1 ADD 0 1\n", "ropeway/1  ADD 0 1", "ropeway/1 ADD 4294967296 1",
		"ropeway/1 ADD 0 3600000001", "ropeway/1 ADD 0 99999999999999999999", "ropeway/1 ADD 0 " + strings.Repeat("0", 60) + "1", "ropeway/1 ADD\x00 0 1",
	} {
		if r, err := ParseRequest([]byte(bad)); err == nil {
			t.Errorf("%q is taken for %+v", bad, r)
		}
	}
}

func FuzzParseRequest(f *testing.F) {
	f.Add([]byte("ropeway/1 ADD 0 12345"))
	f.Add([]byte("ropeway/1 STATUS 50 3600000000"))
	f.Fuzz(func(t *testing.T, in []byte) {
		r, err := ParseRequest(in)
		if err != nil {
			return
		}
		again, err := ParseRequest(r.encode())
		if err != nil || again != r {
			t.Errorf("%+v becomes %+v, %v", r, again, err)
		}
	})
}

func BenchmarkReportWithoutADaemon(b *testing.B) {
	dir := Dir(b.TempDir())
	for b.Loop() {
		dir.Report(Request{Verb: "ADD", Took: 12 * time.Millisecond})
	}
}

func BenchmarkReport(b *testing.B) {
	dir := Dir(b.TempDir())
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: dir.RequestsSocket(), Net: "unixgram"})
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	go func() {
		buf := make([]byte, MaxRequest)
		for {
			if _, err := l.Read(buf); err != nil {
				return
			}
		}
	}()
	for b.Loop() {
		dir.Report(Request{Verb: "ADD", Took: 12 * time.Millisecond})
	}
}
