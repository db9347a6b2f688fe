package main

import (
	"context"
	"encoding/json"
	"strconv"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/ropeway-net/ropeway/bandwidth"
	"github.com/ropeway-net/ropeway/endpoint"
	"github.com/ropeway-net/ropeway/kernel"
)

// bandwidthEntry is the capability bandwidth as it comes: bits per second and
// bits. What is no integer is refused by key and value, and must not keep DEL
// from its work.
type bandwidthEntry struct {
	IngressRate, IngressBurst, EgressRate, EgressBurst json.RawMessage
}

const bandwidthKey = "runtimeConfig.bandwidth"

// parseBandwidth checks the capability bandwidth.
func parseBandwidth(e bandwidthEntry) (bandwidth.Limits, error) {
	var l bandwidth.Limits
	for _, field := range []struct {
		key  string
		text json.RawMessage
		to   *uint64
	}{
		{"ingressRate", e.IngressRate, &l.Ingress.Rate},
		{"ingressBurst", e.IngressBurst, &l.Ingress.Burst},
		{"egressRate", e.EgressRate, &l.Egress.Rate},
		{"egressBurst", e.EgressBurst, &l.Egress.Burst},
	} {
		text := string(field.text)
		if text == "" || text == "null" {
			continue
		}
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			return bandwidth.Limits{}, failf(types.ErrInvalidNetworkConfig, "%s.%s: %.40s is no number of bits; give a positive integer, or none for no limit", bandwidthKey, field.key, text)
		}
		*field.to = n
	}
	if err := l.Validate(); err != nil {
		return bandwidth.Limits{}, failf(types.ErrInvalidNetworkConfig, "%s.%w", bandwidthKey, err)
	}
	return l, nil
}

// limitBandwidth makes the shapers of a pod link that is up: the daemon takes
// those of a link that is not for leftovers.
func limitBandwidth(ctx context.Context, rec endpoint.Record) error {
	var plan kernel.Plan
	for key, shaper := range bandwidth.Shapers(rec.Bandwidth, rec.HostLink, rec.MTU) {
		plan.Ops = append(plan.Ops, kernel.ShaperAdd{ShaperKey: key, Shaper: shaper})
	}
	k, err := kernel.Open()
	if err != nil {
		return err
	}
	defer func() { _ = k.Close() }()
	return k.Apply(ctx, plan)
}

// unlimitBandwidth deletes what an ADD that fails has made beside the link.
func unlimitBandwidth(rec endpoint.Record) error {
	if rec.Bandwidth.Egress == (bandwidth.Limit{}) {
		return nil
	}
	return kernel.DeleteShaperLink(rec.HostLink)
}

// retireLimits takes out of use what does not go with the link, and says
// whether something is to be deleted. Of an attachment without a record it is
// not known whether there was a limit.
func retireLimits(rec endpoint.Record) (bool, error) {
	if rec.BootID != "" && rec.Bandwidth.Egress == (bandwidth.Limit{}) {
		return false, nil
	}
	return kernel.RetireShaperLink(rec.HostLink)
}

// checkBandwidth compares the shapers with a record.
func checkBandwidth(ctx context.Context, rec endpoint.Record) error {
	if rec.Bandwidth == (bandwidth.Limits{}) {
		return nil
	}
	return kernel.CheckShapers(ctx, rec.HostLink, bandwidth.Shapers(rec.Bandwidth, rec.HostLink, rec.MTU))
}
