package main

import (
	"strings"
	"testing"
)

const tracedTwice = `    calls syscall
--------- ----------------
      120 read
        2 fsync
       99 futex
        1 fdatasync
        1 execve
--------- ----------------
      223 total
    calls syscall
--------- ----------------
       10 openat
        2 execve
--------- ----------------
       12 total
`

func TestSummariesOfAllPluginsOfAChainAreAdded(t *testing.T) {
	got, err := parseTrace(strings.NewReader(tracedTwice))
	if want := (count{calls: 136, fsyncs: 3, programs: 3}); err != nil || got != want {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
}

func TestSummaryWithoutAProgramIsRefused(t *testing.T) {
	for _, text := range []string{"", "strace: something went wrong\n", "    calls syscall\n       1 read\n"} {
		if got, err := parseTrace(strings.NewReader(text)); err == nil {
			t.Errorf("%q gave %+v", text, got)
		}
	}
}
