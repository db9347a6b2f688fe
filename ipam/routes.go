package ipam

import (
	"encoding/json"
	"fmt"
	"net"
	"net/netip"

	"github.com/containernetworking/cni/pkg/types"
)

// Route is a route for the pod, passed on to the main plugin's result.
type Route struct {
	Dst netip.Prefix // masked
	// Gateway is invalid where the main plugin is to choose.
	Gateway  netip.Addr
	MTU      int // bytes; 0 means the link's
	AdvMSS   int // bytes; 0 means the kernel's choice
	Priority int // metric; 0 means the kernel's choice
	Table    *int
	Scope    *int
}

type routeSection struct {
	Dst      string `json:"dst"`
	GW       string `json:"gw"`
	MTU      int    `json:"mtu"`
	AdvMSS   int    `json:"advmss"`
	Priority int    `json:"priority"`
	Table    *int   `json:"table"`
	Scope    *int   `json:"scope"`
}

func parseRoutes(raw []json.RawMessage) ([]Route, error) {
	keys := []string{"dst", "gw", "mtu", "advmss", "priority", "table", "scope"}
	var routes []Route
	for i, b := range raw {
		where := fmt.Sprintf("ipam.routes[%d]", i)
		var sec routeSection
		if err := decodeStrict(b, &sec, where, keys); err != nil {
			return nil, err
		}
		dst, err := netip.ParsePrefix(sec.Dst)
		if err != nil || dst.Addr().Is4In6() {
			return nil, errorf(ErrConfig, "%s: dst %q is no prefix such as 0.0.0.0/0", where, sec.Dst)
		}
		r := Route{Dst: dst.Masked(), MTU: sec.MTU, AdvMSS: sec.AdvMSS, Priority: sec.Priority, Table: sec.Table, Scope: sec.Scope}
		if sec.GW != "" {
			if r.Gateway, err = parseAddr(sec.GW); err != nil {
				return nil, errorf(ErrConfig, "%s: gw %w", where, err)
			}
		}
		routes = append(routes, r)
	}
	return routes, nil
}

// CNI is the route as a CNI result has it.
func (r Route) CNI() *types.Route {
	return &types.Route{
		Dst:      net.IPNet{IP: r.Dst.Addr().AsSlice(), Mask: net.CIDRMask(r.Dst.Bits(), r.Dst.Addr().BitLen())},
		GW:       r.Gateway.AsSlice(),
		MTU:      r.MTU,
		AdvMSS:   r.AdvMSS,
		Priority: r.Priority,
		Table:    r.Table,
		Scope:    r.Scope,
	}
}
