package main

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// machine is where and when a run was taken.
type machine struct {
	when          time.Time
	took          time.Duration
	length        length
	kernel        string
	processor     string
	processors    int
	memory        int64 // bytes
	filesystem    string
	before, after processorTime
}

// busyShare is the share of other programs' and machines' processor time above
// which a machine is called busy.
const busyShare = 0.25

func describeMachine() (machine, error) {
	m := machine{when: time.Now().UTC(), processors: runtime.NumCPU()}
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return m, fmt.Errorf("ask for the kernel's version: %w", err)
	}
	m.kernel = unix.ByteSliceToString(name.Release[:])
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return m, fmt.Errorf("ask for the memory: %w", err)
	}
	m.memory = int64(info.Totalram) * int64(info.Unit)
	m.processor = valueIn("/proc/cpuinfo", "model name")
	var err error
	m.before, err = readProcessorTime()
	return m, err
}

// valueIn reads a line "key : value" of a file, or nothing.
func valueIn(path, key string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(text)) {
		if k, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(k) == key {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

// filesystemOf is the type of the file system that holds dir.
func filesystemOf(dir string) string {
	f, err := os.Open("/proc/self/mounts")
	if err != nil {
		return ""
	}
	defer f.Close()
	var kind, longest string
	for lines := bufio.NewScanner(f); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) < 3 {
			continue
		}
		at := strings.TrimSuffix(fields[1], "/") + "/"
		if strings.HasPrefix(dir+"/", at) && len(at) >= len(longest) {
			longest, kind = at, fields[2]
		}
	}
	return kind
}

// processorTime is what all processors have done since boot.
type processorTime struct {
	busy, stolen time.Duration
	own          time.Duration // of this process and the children it waited for
	at           time.Time
}

func readProcessorTime() (processorTime, error) {
	t := processorTime{at: time.Now()}
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return t, err
	}
	line, _, _ := strings.Cut(string(text), "\n")
	const tick = 10 * time.Millisecond // USER_HZ is 100 on every architecture of ours
	// cpu user nice system idle iowait irq softirq steal …
	for i, field := range strings.Fields(line) {
		n, err := strconv.ParseInt(field, 10, 64)
		switch {
		case i == 0 || i == 4 || i == 5:
		case err != nil:
			return t, fmt.Errorf("/proc/stat: %w", err)
		case i < 8:
			t.busy += time.Duration(n) * tick
		case i == 8:
			t.stolen += time.Duration(n) * tick
		}
	}
	for _, who := range []int{unix.RUSAGE_SELF, unix.RUSAGE_CHILDREN} {
		var usage unix.Rusage
		if err := unix.Getrusage(who, &usage); err != nil {
			return t, err
		}
		t.own += time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
	}
	return t, nil
}

func (m machine) busy() bool { return m.others() > busyShare }

// others is the share of processor time that neither we used nor nobody.
// Kernel threads count as others, though some work for us.
func (m machine) others() float64 {
	span := m.after.at.Sub(m.before.at) * time.Duration(m.processors)
	if span <= 0 {
		return 0
	}
	busy := m.after.busy - m.before.busy + m.after.stolen - m.before.stolen
	own := m.after.own - m.before.own
	return max(0, float64(busy-own)/float64(span))
}
