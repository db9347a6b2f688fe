package main

import (
	"encoding/json"
	"errors"
	"net/netip"
	"testing"

	"github.com/ropeway-net/ropeway/bandwidth"
	"github.com/ropeway-net/ropeway/kernel"
)

func FuzzParseArgs(f *testing.F) {
	for _, seed := range []string{"", "IgnoreUnknown=1;K8S_POD_NAME=web;K8S_POD_UID=1", "A=;B==;", "=", ";;", "A", "K8S_POD_NAME=a=b"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		pairs, err := parseArgs(s)
		var coded *codedError
		if err != nil && (!errors.As(err, &coded) || coded.code != 4 || pairs != nil) {
			t.Errorf("error %v with %v", err, pairs)
		}
		if _, empty := pairs[""]; empty {
			t.Errorf("%q has a pair without a key", s)
		}
	})
}

// What CHECK reads comes from whoever ran before.
func FuzzPreviousResult(f *testing.F) {
	for _, seed := range []string{
		`{"cniVersion":"1.0.0","interfaces":[{"name":"eth0","mac":"02:00:00:00:00:01","sandbox":"/x"}],"ips":[{"address":"10.99.0.2/32","interface":0}],"routes":[{"dst":"0.0.0.0/0","gw":"169.254.1.1"}]}`,
		`{"cniVersion":"0.4.0","ips":[null]}`, `{"cniVersion":"0.3.1","routes":[null]}`, `{"cniVersion":"1.0.0","interfaces":[null]}`, `{"cniVersion":"1.0.0","ips":[null]}`, `{"cniVersion":"1.0.0","interfaces":[{"name":"eth0","sandbox":"/x"}],"routes":[null]}`, `{"cniVersion":"1.0.0","ips":[{"address":"::ffff:10.0.0.1/120"}]}`,
		`{"interfaces":[{"name":"eth0","mac":"x","sandbox":"/x"}]}`, `{"routes":[{"dst":"10.0.0.0/33"}]}`, `null`, `[]`, `{`,
	} {
		for _, version := range []string{"1.1.0", "1.0.0", "0.4.0", "0.3.1", "0.2.0", "x"} {
			f.Add(version, []byte(seed))
		}
	}
	f.Fuzz(func(t *testing.T, version string, b []byte) {
		c := conf{CNIVersion: version, PrevResult: b}
		r, err := c.previousResult()
		if err != nil {
			var coded *codedError
			if !errors.As(err, &coded) {
				t.Errorf("error %v has no code", err)
			}
			return
		}
		link := kernel.PodLink{Name: "eth0", Addresses: []netip.Addr{netip.MustParseAddr("10.99.0.2")}}
		if err := takeOver(r, &link); err == nil && len(r.IPs) == 0 {
			t.Errorf("%s has no address and differs in nothing", b)
		}
		for _, dst := range link.Routes {
			if !dst.IsValid() {
				t.Errorf("route to %v of %s", dst, b)
			}
		}
	})
}

func FuzzParseBandwidth(f *testing.F) {
	for _, seed := range []string{
		`{"ingressRate":1000000,"ingressBurst":2147483647,"egressRate":8,"egressBurst":8}`, `{"IngressRate":0,"IngressBurst":0}`,
		`{"ingressRate":1000}`, `{"egressBurst":1}`, `{"ingressRate":-1,"ingressBurst":1}`, `{"ingressRate":1e6,"ingressBurst":1.5}`,
		`{"ingressRate":"1M","ingressBurst":null}`, `{"egressRate":18446744073709551616,"egressBurst":1}`, `null`, `[]`, `{"ingressRate":{}}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var entry bandwidthEntry
		if json.Unmarshal(b, &entry) != nil {
			return
		}
		limits, err := parseBandwidth(entry)
		if err != nil {
			if limits != (bandwidth.Limits{}) {
				t.Errorf("%s: %+v beside the error %v", b, limits, err)
			}
			return
		}
		if err := limits.Validate(); err != nil {
			t.Errorf("%s: taken, and not valid: %v", b, err)
		}
	})
}
