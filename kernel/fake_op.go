package kernel

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
)

// do carries out one operation, or refuses it as the kernel would.
func (f *Fake) do(op Op) error {
	if link := opLink(op); link != "" && !f.exists(link) {
		if isDeletion(op) {
			return nil
		}
		return fmt.Errorf("%s: %w", link, errLinkMissing)
	}
	switch op := op.(type) {
	case SysctlSet:
		f.state.Sysctls[op.Key] = op.Value
	case LinkAdd:
		return f.addLink(op.Link)
	case LinkSet:
		return f.setLink(op)
	case LinkDel:
		return f.deleteLink(op.Name)
	case AddressAdd:
		return f.addAddress(op.Address)
	case AddressDel:
		f.deleteAddress(op.Address)
	case RouteAdd:
		return f.addRoute(op.RouteKey, op.Route)
	case RouteReplace:
		return f.replaceRoute(op.RouteKey, op.Route)
	case RouteDel:
		if have := f.state.Routes[op.RouteKey]; op.Link == "" || op.Link == have.Link {
			delete(f.state.Routes, op.RouteKey)
		}
	case NeighbourReplace:
		return f.setNeighbour(op.NeighbourKey, op.MAC)
	case NeighbourDel:
		delete(f.state.Neighbours, op.NeighbourKey)
	case FDBReplace:
		return f.setFDB(op.FDBEntry)
	case FDBDel:
		delete(f.state.FDB, op.FDBEntry)
	case ShaperAdd:
		return f.setShaper(op.ShaperKey, op.Shaper)
	case ShaperSet:
		if _, ok := f.state.Shapers[op.ShaperKey]; !ok {
			return fmt.Errorf("%s has no shaper %s", op.Link, op.Direction)
		}
		return f.setShaper(op.ShaperKey, op.Shaper)
	case ShaperDel:
		delete(f.state.Shapers, op.ShaperKey)
	case TableChange:
		return f.changeTable(op)
	case AdmissionAdd:
		return f.admit(op)
	case AdmissionDel:
		f.expel(op.ForeignRule)
	default:
		return fmt.Errorf("unknown operation %T", op)
	}
	return nil
}

func isDeletion(op Op) bool {
	switch op.(type) {
	case LinkDel, AddressDel, RouteDel, NeighbourDel, FDBDel, ShaperDel, AdmissionDel:
		return true
	}
	change, ok := op.(TableChange)
	return ok && change.onlyDeletesElement()
}

func (f *Fake) exists(link string) bool {
	_, own := f.state.Links[link]
	_, pod := f.podLinks[link]
	_, foreign := f.interfaces[link]
	return own || pod || foreign || link == "lo"
}

func (f *Fake) isUp(link string) bool {
	_, pod := f.podLinks[link]
	return pod || f.state.Links[link].Up || f.interfaces[link].Up
}

func (f *Fake) addLink(l Link) error {
	switch have, ok := f.state.Links[l.Name]; {
	case ok && have == l.over(have):
		return nil
	case f.exists(l.Name):
		return errors.New("a link of that name exists")
	case !isTunnelLink(l.Name) || len(l.Name) > 15:
		return fmt.Errorf("name %q is no tunnel device's", l.Name)
	case l.MTU <= 0:
		return fmt.Errorf("MTU %d is not valid", l.MTU)
	case l.Local.IsValid() == (l.Kind == IP6Tnl):
		return errors.New("every tunnel device needs a local address, except ip6tnl, which takes none")
	case l.TxChecksum != "" && l.Kind != VXLAN:
		return errors.New("only a VXLAN device has checksums to switch")
	case l.Kind == VXLAN && (l.MAC == MAC{} || l.Port == 0):
		return errors.New("a VXLAN device needs a MAC and a port")
	case l.Remote.IsValid() && (l.Kind != SIT || !l.Remote.Is4()):
		return errors.New("only a sit device has a remote end, of IPv4")
	case (l.Kind == IPIP || l.Kind == SIT) && !l.Local.Is4():
		return fmt.Errorf("local address %s is of the wrong family", l.Local)
	}
	if l.Kind == VXLAN && l.TxChecksum == "" {
		l.TxChecksum = OffloadOn // as the kernel makes it
	}
	f.state.Links[l.Name] = l
	return nil
}

func (f *Fake) setLink(op LinkSet) error {
	l, ok := f.state.Links[op.Name]
	if !ok {
		return fmt.Errorf("%s: %w", op.Name, errLinkMissing)
	}
	if op.MTU != 0 {
		l.MTU = op.MTU
	}
	if op.TxChecksum != "" && l.Kind != VXLAN {
		return errors.New("only a VXLAN device has checksums to switch")
	}
	if op.TxChecksum != "" {
		l.TxChecksum = op.TxChecksum
	}
	if op.Admin != "" {
		l.Up = op.Admin == AdminUp
	}
	f.state.Links[op.Name] = l
	if !l.Up {
		f.dropRoutes(func(_ RouteKey, r Route) bool { return r.Link == op.Name })
		for a := range f.state.Addresses {
			if a.Link == op.Name && a.Prefix.Addr().Is6() {
				f.deleteAddress(a)
			}
		}
	}
	return nil
}

func (f *Fake) deleteLink(name string) error {
	if _, ok := f.interfaces[name]; ok {
		return errors.New("the link is somebody else's")
	}
	delete(f.state.Links, name)
	delete(f.podLinks, name)
	f.dropRoutes(func(_ RouteKey, r Route) bool { return r.Link == name })
	for a := range f.state.Addresses {
		if a.Link == name {
			f.deleteAddress(a)
		}
	}
	maps.DeleteFunc(f.state.Neighbours, func(k NeighbourKey, _ MAC) bool { return k.Link == name })
	maps.DeleteFunc(f.state.FDB, func(e FDBEntry, _ struct{}) bool { return e.Link == name })
	delete(f.state.Shapers, ShaperKey{name, ToPod})
	if from := (ShaperKey{name, FromPod}); f.state.Shapers[from] != (Shaper{}) {
		f.state.Shapers[from] = Shaper{} // the ifb device stays
	}
	maps.DeleteFunc(f.state.Sysctls, func(key, _ string) bool { return sysctlInterface(key) == name })
	return nil
}

func (f *Fake) dropRoutes(doomed func(RouteKey, Route) bool) {
	maps.DeleteFunc(f.state.Routes, doomed)
}

func (f *Fake) addAddress(a Address) error {
	l, ok := f.state.Links[a.Link]
	switch {
	case !ok:
		return fmt.Errorf("%s is no tunnel device", a.Link)
	case !a.Prefix.IsSingleIP():
		return fmt.Errorf("%s is not a single address", a.Prefix)
	case a.Prefix.Addr().Is6() && !l.Up:
		return errors.New("a link that is down loses its IPv6 addresses; set it up first")
	}
	f.state.Addresses[a] = struct{}{}
	return nil
}

// deleteAddress takes along the IPv4 routes that have the address as source,
// unless another link has it too; IPv6 routes stay as they are.
func (f *Fake) deleteAddress(a Address) {
	delete(f.state.Addresses, a)
	if ip := a.Prefix.Addr(); ip.Is4() && !f.isLocal(ip) {
		f.dropRoutes(func(_ RouteKey, r Route) bool { return r.Src == ip })
	}
}

func (f *Fake) isLocal(ip netip.Addr) bool {
	for a := range f.state.Addresses {
		if a.Prefix.Addr() == ip {
			return true
		}
	}
	for _, i := range f.interfaces {
		for _, p := range i.Addresses {
			if p.Addr() == ip {
				return true
			}
		}
	}
	return false
}

func (f *Fake) addRoute(k RouteKey, r Route) error {
	if have, ok := f.state.Routes[k]; ok && have != r {
		return errors.New("a route to that destination exists")
	}
	for _, i := range f.interfaces {
		for _, p := range i.Addresses {
			if i.Up && p.Addr().Is4() && k == (RouteKey{Dst: p.Masked()}) {
				return fmt.Errorf("the route of %s, protocol kernel, has the same destination", i.Name)
			}
		}
	}
	return f.replaceRoute(k, r)
}

func (f *Fake) replaceRoute(k RouteKey, r Route) error {
	if k.Dst != k.Dst.Masked() || !k.Dst.IsValid() {
		return fmt.Errorf("destination %s has host bits", k.Dst)
	}
	if r.Type == Unreachable {
		if r != (Route{Type: Unreachable}) {
			return errors.New("an unreachable route has no next hop")
		}
		f.state.Routes[k] = r
		return nil
	}
	switch {
	case r.Type != Unicast:
		return fmt.Errorf("route type %q is not known", r.Type)
	case r.Link == "":
		return errors.New("a unicast route needs a link")
	case !f.isUp(r.Link):
		return errors.New("the network is down")
	case r.Src.IsValid() && (!f.isLocal(r.Src) || r.Src.Is4() != k.Dst.Addr().Is4()):
		return fmt.Errorf("source %s is no address of this node", r.Src)
	case r.OnLink && !r.Gateway.IsValid():
		return errors.New("onlink needs a gateway")
	case r.Encap != (Encap{}) && (f.state.Links[r.Link].Kind != IP6Tnl || r.Gateway.IsValid()):
		return errors.New("encap needs an ip6tnl device and no gateway")
	case r.Encap != (Encap{}) && (!r.Encap.Src.Is6() || !r.Encap.Dst.Is6()):
		return errors.New("encap needs IPv6 addresses")
	}
	if err := f.checkGateway(k, r); err != nil {
		return err
	}
	f.state.Routes[k] = r
	return nil
}

func (f *Fake) checkGateway(k RouteKey, r Route) error {
	switch gw := r.Gateway; {
	case !gw.IsValid():
		return nil
	case gw.Is4() && k.Dst.Addr().Is6():
		return fmt.Errorf("gateway %s cannot serve an IPv6 destination", gw)
	case f.isLocal(gw):
		return fmt.Errorf("gateway %s is an address of this node", gw)
	case r.OnLink && gw.Is6() && !gw.IsLinkLocalUnicast():
		return fmt.Errorf("gateway %s is onlink but not link-local: the kernel refuses it as soon as a route leads there through another link", gw)
	case r.OnLink, gw.Is6() && gw.IsLinkLocalUnicast():
		return nil
	case !f.isOnLink(gw, r.Link):
		return fmt.Errorf("gateway %s is not on %s", gw, r.Link)
	}
	return nil
}

// isOnLink says whether an address is reached directly through a link.
func (f *Fake) isOnLink(ip netip.Addr, link string) bool {
	for _, p := range f.interfaces[link].Addresses {
		if p.Contains(ip) {
			return true
		}
	}
	for k, r := range f.state.Routes {
		if r.Link == link && !r.Gateway.IsValid() && k.Dst.Contains(ip) {
			return true
		}
	}
	return false
}

func (f *Fake) setNeighbour(k NeighbourKey, mac MAC) error {
	if !isOwnLink(k.Link) {
		return fmt.Errorf("%s is somebody else's link", k.Link)
	}
	f.state.Neighbours[k] = mac
	return nil
}

// setFDB replaces the destination that a unicast MAC has.
func (f *Fake) setFDB(e FDBEntry) error {
	if l := f.state.Links[e.Link]; l.Kind != VXLAN || l.Local.Is4() != e.Dst.Is4() {
		return fmt.Errorf("%s is no VXLAN device towards %s", e.Link, e.Dst)
	}
	vtep := FDBEntry{Link: e.Link, MAC: e.MAC}
	delete(f.state.FDB, FDBEntry{e.Link, e.MAC, f.destinations[vtep]})
	f.destinations[vtep] = e.Dst
	f.state.FDB[e] = struct{}{}
	return nil
}

func (f *Fake) setShaper(k ShaperKey, s Shaper) error {
	switch {
	case !isPodLink(k.Link) || k.Direction != ToPod && k.Direction != FromPod:
		return fmt.Errorf("%s is no pod link's host end", k.Link)
	case s.Rate == 0 || s.Burst < frame || s.Queue < frame:
		return fmt.Errorf("rate %d, burst %d, queue %d: no packet would pass", s.Rate, s.Burst, s.Queue)
	}
	f.state.Shapers[k] = s
	return nil
}

func (f *Fake) changeTable(c TableChange) error {
	t, err := c.apply(f.state.Table)
	if err != nil && c.onlyDeletesElement() {
		return nil
	}
	if err != nil {
		return err
	}
	f.state.Table = t
	return nil
}
