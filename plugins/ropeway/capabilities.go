package main

import (
	"unicode"
	"unicode/utf8"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/ropeway-net/ropeway/endpoint"
)

// Bounds of what a record keeps of a runtime's wishes; no resolver takes, and
// no pod has, that many by intent.
const (
	maxWishes     = 100
	maxWishLength = 1024 // bytes
)

// asked are the capabilities that change nothing here: dns and aliases. Of the
// others cgroupPath, annotations and whatever runtimes send beside them are
// accepted and left alone.
type asked struct {
	DNS     *endpoint.DNS `json:"dns"`
	Aliases []string      `json:"aliases"`
}

// validate bounds what goes into a record. Whether an alias is a name is for
// whoever answers names to say; here it must only be text.
func (a asked) validate() error {
	lists := map[string][]string{"aliases": a.Aliases}
	if a.DNS != nil {
		lists["dns.servers"], lists["dns.searches"], lists["dns.options"] = a.DNS.Servers, a.DNS.Searches, a.DNS.Options
	}
	for key, list := range lists {
		if len(list) > maxWishes {
			return failf(types.ErrInvalidNetworkConfig, "runtimeConfig.%s: %d entries; at most %d are possible", key, len(list), maxWishes)
		}
		for i, s := range list {
			if len(s) > maxWishLength || !isText(s) {
				return failf(types.ErrInvalidNetworkConfig, "runtimeConfig.%s[%d]: %.40q is no name or is longer than %d bytes; correct it", key, i, s, maxWishLength)
			}
		}
	}
	return nil
}

func isText(s string) bool {
	for _, r := range s {
		if r == utf8.RuneError || unicode.IsControl(r) {
			return false
		}
	}
	return s != ""
}

// dns is the result's: what the runtime asked for at this ADD before what the
// configuration says for all pods before what the IPAM plugin knows.
func (a *attach) dns() types.DNS {
	switch {
	case a.Asked.DNS != nil:
		d := *a.Asked.DNS
		return types.DNS{Nameservers: d.Servers, Search: d.Searches, Options: d.Options}
	case !a.DNS.IsEmpty():
		return a.DNS
	}
	return a.lease.DNS
}
