package ipam

import (
	"encoding/json"
	"fmt"
	"net"
	"net/netip"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/ropeway-net/ropeway/jsonobject"
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

func parseRoutes(raw []json.RawMessage) ([]Route, error) {
	var routes []Route
	for i, b := range raw {
		where := fmt.Sprintf("ipam.routes[%d]", i)
		var r Route
		var dst, gw string
		if err := decodeStrict(b, where, []jsonobject.Field{
			{Name: "dst", Into: &dst}, {Name: "gw", Into: &gw}, {Name: "mtu", Into: &r.MTU}, {Name: "advmss", Into: &r.AdvMSS},
			{Name: "priority", Into: &r.Priority}, {Name: "table", Into: &r.Table}, {Name: "scope", Into: &r.Scope},
		}...); err != nil {
			return nil, err
		}
		prefix, err := netip.ParsePrefix(dst)
		if err != nil || prefix.Addr().Is4In6() {
			return nil, errorf(ErrConfig, "%s: dst %q is no prefix such as 0.0.0.0/0", where, dst)
		}
		r.Dst = prefix.Masked()
		if gw != "" {
			if r.Gateway, err = parseAddr(gw); err != nil {
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
