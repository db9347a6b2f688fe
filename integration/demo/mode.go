package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/ropeway-net/ropeway/daemon/status"
	"github.com/ropeway-net/ropeway/daemon/topology"
	"github.com/ropeway-net/ropeway/integration/lab"
)

// modeTimeout bounds one mode, also under emulation.
const modeTimeout = 3 * time.Minute

// podsPerNode on each of three nodes.
const podsPerNode = 2

// show runs one mode in a lab of its own.
func (d *demo) show(ctx context.Context, mode topology.Mode) (v verdict) {
	start := time.Now()
	v.mode = mode
	defer func() {
		v.elapsed = time.Since(start)
		if v.err != nil {
			d.printf("%s: %v\n", mode, v.err)
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, modeTimeout)
	defer cancel()

	d.printf("\n== %s ==\n", mode)
	l, err := lab.New(ctx, lab.Options{Mode: mode, BinDir: d.bin})
	if err != nil {
		v.err = err
		return v
	}
	defer func() { v.err = errors.Join(v.err, l.Close()) }()
	pods, err := d.populate(ctx, l)
	if err != nil {
		v.err = err
		return v
	}
	d.printf("up in %.1f s: %s; %d pods\n\n", time.Since(start).Seconds(), describe(l), len(pods))
	s, err := newSession(ctx, l, d.bulk)
	if err != nil {
		v.err = err
		return v
	}
	defer s.close()
	if err := s.serve(ctx, pods); err != nil {
		v.err = err
		return v
	}
	d.printHeader()
	for i, a := range pods {
		for _, b := range pods[i+1:] {
			for _, family := range []lab.Families{lab.IPv4, lab.IPv6} {
				if ctx.Err() != nil {
					v.err = ctx.Err()
					return v
				}
				r := s.exchange(ctx, a, b, family)
				d.printRow(r)
				if r.err != nil {
					v.failed++
				} else {
					v.passed++
				}
			}
		}
	}
	return v
}

// populate starts the daemons and attaches the pods.
func (d *demo) populate(ctx context.Context, l *lab.Lab) ([]*lab.Pod, error) {
	if err := l.Start(ctx); err != nil {
		return nil, err
	}
	var pods []*lab.Pod
	for _, n := range l.Nodes() {
		for range podsPerNode {
			p, err := n.AttachPod(ctx, fmt.Sprintf("p%d", len(pods)+1))
			if err != nil {
				return nil, err
			}
			pods = append(pods, p)
		}
	}
	return pods, nil
}

func describe(l *lab.Lab) string {
	var subnets []string
	for number := 1; number <= 2; number++ {
		var members []string
		for _, n := range l.Nodes() {
			if n.Subnet == number {
				members = append(members, n.Name)
			}
		}
		if len(members) > 0 {
			subnets = append(subnets, fmt.Sprintf("%s on subnet %d", strings.Join(members, " "), number))
		}
	}
	return strings.Join(subnets, ", ")
}

// reports asks every node's daemon.
func reports(ctx context.Context, l *lab.Lab) (map[string]status.Report, error) {
	found := map[string]status.Report{}
	for _, n := range l.Nodes() {
		report, err := n.Status(ctx)
		if err != nil {
			return nil, err
		}
		found[n.Name] = report
	}
	return found, nil
}
