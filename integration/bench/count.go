package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// count is what one call of a network's plugins asks of the kernel.
type count struct {
	verb, of string
	calls    int
	fsyncs   int // fsync, fdatasync, sync_file_range, syncfs and sync
	programs int // executed
}

// countRounds are odd, for the median.
func countRounds() extent { return extent{5, 1} }

// countAll counts for contenders of every kind, apart from all measurements of
// time: strace makes programs many times slower.
func countAll(ctx context.Context, b binaries, l length) ([]count, error) {
	masquerade, port := setting{masquerade: true}, setting{masquerade: true, hostPort: true}
	both := setting{prefixes: []string{pods4, pods6}}
	var all []count
	for _, c := range []struct {
		title string
		open  func(title string) (*attacher, error)
	}{
		{"ropeway", func(t string) (*attacher, error) { return ropeway(ctx, b, t, setting{}) }},
		{"ptp", func(t string) (*attacher, error) { return ptp(b, t, setting{}) }},
		{"bridge", func(t string) (*attacher, error) { return bridge(b, t, setting{}) }},
		{"ropeway, dual-stack", func(t string) (*attacher, error) { return ropeway(ctx, b, t, both) }},
		{"ptp, dual-stack", func(t string) (*attacher, error) { return ptp(b, t, both) }},
		{"ropeway, masquerade", func(t string) (*attacher, error) { return ropeway(ctx, b, t, masquerade) }},
		{"ptp, masquerade", func(t string) (*attacher, error) { return ptp(b, t, masquerade) }},
		{"ropeway, host port", func(t string) (*attacher, error) { return ropeway(ctx, b, t, port) }},
		{"ptp + portmap, host port", func(t string) (*attacher, error) { return ptp(b, t, setting{hostPort: true}) }},
	} {
		a, err := c.open(c.title)
		if err != nil {
			return nil, err
		}
		found, err := a.count(ctx, countRounds().of(l))
		if err = errors.Join(err, a.close()); err != nil {
			return nil, fmt.Errorf("count the system calls of %s: %w", c.title, err)
		}
		all = append(all, found...)
	}
	return all, nil
}

// count runs each verb under strace. The first round is forgotten: it makes
// directories, chains and a bridge.
func (a *attacher) count(ctx context.Context, rounds int) ([]count, error) {
	trace := filepath.Join(a.state, "trace")
	a.network.tracer = []string{"strace", "-f", "-c", "-U", "calls,name", "-A", "-o", trace}
	found := map[string][]count{}
	for round := range 1 + rounds {
		pod := a.attachments()[0]
		leaving, err := watchDeparture(pod.pod)
		if err != nil {
			return nil, err
		}
		for _, verb := range countedVerbs() {
			c, countErr := a.countOne(ctx, verb, pod, trace)
			if countErr != nil {
				leaving.close()
				return nil, countErr
			}
			if round > 0 {
				found[verb] = append(found[verb], c)
			}
		}
		_, err = leaving.wait(ctx)
		leaving.close()
		if err != nil {
			return nil, err
		}
	}
	var medians []count
	for _, verb := range countedVerbs() {
		slices.SortFunc(found[verb], func(x, y count) int { return x.calls - y.calls })
		medians = append(medians, found[verb][rounds/2])
	}
	return medians, nil
}

const stepStatus = "STATUS"

func countedVerbs() []string { return []string{stepAdd, stepCheck, stepStatus, stepDel} }

func (a *attacher) countOne(ctx context.Context, verb string, pod *attachment, trace string) (count, error) {
	var err error
	switch verb {
	case stepAdd:
		_, err = a.network.add(ctx, pod)
	case stepCheck:
		_, err = a.network.check(ctx, pod)
	case stepStatus:
		_, err = a.network.status(ctx)
	case stepDel:
		_, err = a.network.del(ctx, pod)
	}
	if err != nil {
		return count{}, err
	}
	c, err := readTrace(trace)
	c.verb, c.of = verb, a.title
	return c, err
}

// readTrace reads the summaries that strace has written, one for each plugin of
// a chain, and removes them.
func readTrace(path string) (count, error) {
	f, err := os.Open(path)
	if err != nil {
		return count{}, err
	}
	c, err := parseTrace(f)
	return c, errors.Join(err, f.Close(), os.Remove(path))
}

func parseTrace(r io.Reader) (count, error) {
	var c count
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) != 2 || fields[1] == "total" {
			continue
		}
		n, err := strconv.Atoi(fields[0])
		if err != nil {
			continue // headings and rules
		}
		switch fields[1] {
		case "futex", "nanosleep", "epoll_pwait", "sched_yield", "tgkill", "getpid", "rt_sigreturn":
			continue // how threads of Go wait for each other is not the program's doing, and differs each time
		case "fsync", "fdatasync", "sync_file_range", "syncfs", "sync":
			c.fsyncs += n
		case "execve":
			c.programs += n
		}
		c.calls += n
	}
	if err := lines.Err(); err != nil {
		return c, err
	}
	if c.programs == 0 {
		return c, errors.New("strace has counted no program")
	}
	return c, nil
}
