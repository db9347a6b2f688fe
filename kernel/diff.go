package kernel

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"strings"
)

// Diff plans what turns actual into desired. It adds before it deletes, so
// that a path never lacks a route while another one replaces it; the
// exception is a tunnel device that must be made anew, which takes with it
// everything that lives on it. Sysctls that desired does not name stay.
//
// The plan's order is: sysctls, links, sysctls of links, addresses,
// neighbours, forwarding entries, routes, the nftables table, rules in tables of others,
// shapers; then deletions
// the other way round.
func Diff(actual, desired State) Plan {
	d := newDiffer(actual, desired)
	d.addSysctls("")
	d.addLinks()
	d.addAddresses()
	d.addNeighbours()
	d.addFDB()
	d.addRoutes()
	if table, ok := diffTable(actual.Table, desired.Table).(TableChange); ok {
		d.plan.Ops = append(d.plan.Ops, table.apart()...)
	}
	d.addAdmissions()
	d.addShapers()
	d.deleteShapers()
	d.deleteAdmissions()
	d.deleteRoutes()
	d.deleteFDB()
	d.deleteNeighbours()
	d.deleteAddresses()
	d.deleteLinks()
	return d.plan
}

// differ is one comparison.
type differ struct {
	actual, desired State
	plan            Plan
	// remade are links that are deleted and made again: what lived on them in
	// actual is gone when additions run.
	remade map[string]bool
	// lost are addresses that are gone, if only for a moment. The kernel
	// removes IPv4 routes that have one as source, on whatever link, and may
	// take the source from IPv6 routes.
	lost map[netip.Addr]bool
}

func newDiffer(actual, desired State) *differ {
	d := &differ{actual: actual, desired: desired, remade: map[string]bool{}, lost: map[netip.Addr]bool{}}
	for name, want := range desired.Links {
		if have, ok := actual.Links[name]; ok && !have.adaptableTo(want) {
			d.remade[name] = true
		}
	}
	for a := range actual.Addresses {
		if d.remade[a.Link] {
			d.lost[a.Prefix.Addr()] = true
		}
	}
	return d
}

// adaptableTo says whether a link differs from want at most in what LinkSet
// can change.
func (l Link) adaptableTo(want Link) bool {
	l.MTU, l.Up, l.TxChecksum = want.MTU, want.Up, want.TxChecksum
	return l == want
}

// vanishing says whether a link of actual goes away, for a moment or for good,
// and so everything on it.
func (d *differ) vanishing(link string) bool {
	if d.remade[link] {
		return true
	}
	_, exists := d.actual.Links[link]
	_, wanted := d.desired.Links[link]
	return exists && !wanted
}

// addSysctls plans the sysctls of one own link, or the ones of no own link.
func (d *differ) addSysctls(link string) {
	_, kept := d.actual.Links[link]
	fresh := link != "" && (!kept || d.remade[link])
	for _, key := range sorted(d.desired.Sysctls, compareSysctl) {
		if d.sysctlLink(key) != link {
			continue
		}
		if have, ok := d.actual.Sysctls[key]; !ok || have != d.desired.Sysctls[key] || fresh {
			d.plan.add(SysctlSet{key, d.desired.Sysctls[key]})
		}
	}
}

// sysctlLink returns the desired link that a sysctl belongs to, if any.
func (d *differ) sysctlLink(key string) string {
	link := sysctlInterface(key)
	if _, ok := d.desired.Links[link]; !ok {
		return ""
	}
	return link
}

// sysctlInterface returns the interface in net/ipv4/conf/<interface>/<name>
// and its likes, which may be "all" or "default".
func sysctlInterface(key string) string {
	parts := strings.Split(key, "/")
	if len(parts) != 5 || parts[0] != "net" || parts[2] != "conf" && parts[2] != "neigh" {
		return ""
	}
	return parts[3]
}

func (d *differ) addLinks() {
	for _, name := range slices.Sorted(maps.Keys(d.desired.Links)) {
		want := d.desired.Links[name]
		have, ok := d.actual.Links[name]
		switch {
		case d.remade[name]:
			d.plan.add(LinkDel{name})
			d.plan.add(LinkAdd{want})
		case !ok:
			d.plan.add(LinkAdd{want})
		case have != want.over(have):
			d.plan.add(linkChange(have, want.over(have)))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(d.desired.Links)) {
		d.addSysctls(name)
	}
}

func linkChange(have, want Link) LinkSet {
	set := LinkSet{Name: want.Name}
	if have.MTU != want.MTU {
		set.MTU = want.MTU
	}
	if have.TxChecksum != want.TxChecksum {
		set.TxChecksum = want.TxChecksum
	}
	switch {
	case have.Up == want.Up:
	case want.Up:
		set.Admin = AdminUp
	default:
		set.Admin = AdminDown
	}
	return set
}

func (d *differ) addAddresses() {
	for _, a := range sorted(d.desired.Addresses, compareAddress) {
		if _, ok := d.actual.Addresses[a]; !ok || d.remade[a.Link] {
			d.plan.add(AddressAdd{a})
		}
	}
}

func (d *differ) addNeighbours() {
	for _, k := range sorted(d.desired.Neighbours, compareNeighbour) {
		want := d.desired.Neighbours[k]
		if have, ok := d.actual.Neighbours[k]; !ok || have != want || d.remade[k.Link] {
			d.plan.add(NeighbourReplace{k, want})
		}
	}
}

func (d *differ) addFDB() {
	for _, e := range sorted(d.desired.FDB, compareFDB) {
		if _, ok := d.actual.FDB[e]; !ok || d.remade[e.Link] {
			d.plan.add(FDBReplace{e})
		}
	}
}

func (d *differ) addRoutes() {
	for _, k := range sorted(d.desired.Routes, compareRoute) {
		want := d.desired.Routes[k]
		have, ok := d.actual.Routes[k]
		switch {
		case !ok, d.remade[have.Link]:
			d.plan.add(RouteAdd{k, want})
		case have != want, d.lost[want.Src]:
			d.plan.add(RouteReplace{k, want})
		}
	}
}

func (d *differ) deleteRoutes() {
	for _, k := range sorted(d.actual.Routes, compareRoute) {
		if _, ok := d.desired.Routes[k]; !ok && !d.vanishing(d.actual.Routes[k].Link) {
			d.plan.add(RouteDel{k, d.actual.Routes[k].Link})
		}
	}
}

// deleteFDB leaves an entry whose MAC has another destination in desired: it
// has been replaced.
func (d *differ) deleteFDB() {
	type destination struct {
		link string
		mac  MAC
	}
	replaced := make(map[destination]bool, len(d.desired.FDB))
	for e := range d.desired.FDB {
		replaced[destination{e.Link, e.MAC}] = true
	}
	for _, e := range sorted(d.actual.FDB, compareFDB) {
		if !replaced[destination{e.Link, e.MAC}] && !d.vanishing(e.Link) {
			d.plan.add(FDBDel{e})
		}
	}
}

func (d *differ) deleteNeighbours() {
	for _, k := range sorted(d.actual.Neighbours, compareNeighbour) {
		if _, ok := d.desired.Neighbours[k]; !ok && !d.vanishing(k.Link) {
			d.plan.add(NeighbourDel{k})
		}
	}
}

func (d *differ) deleteAddresses() {
	for _, a := range sorted(d.actual.Addresses, compareAddress) {
		if _, ok := d.desired.Addresses[a]; !ok && !d.vanishing(a.Link) {
			d.plan.add(AddressDel{a})
		}
	}
}

func (d *differ) deleteLinks() {
	for _, name := range slices.Sorted(maps.Keys(d.actual.Links)) {
		if _, ok := d.desired.Links[name]; !ok {
			d.plan.add(LinkDel{name})
		}
	}
}

// sorted returns the keys of m in order.
func sorted[K comparable, V any](m map[K]V, compare func(K, K) int) []K {
	return slices.SortedFunc(maps.Keys(m), compare)
}

// compareSysctl puts accept_ra first: when IPv6 forwarding is switched on, the
// kernel forgets the default routes of interfaces where it is not 2.
func compareSysctl(a, b string) int {
	rank := func(key string) int {
		if strings.HasSuffix(key, "/accept_ra") {
			return 0
		}
		return 1
	}
	return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a, b))
}

func compareAddress(a, b Address) int {
	return cmp.Or(cmp.Compare(a.Link, b.Link), a.Prefix.Compare(b.Prefix))
}

func compareNeighbour(a, b NeighbourKey) int {
	return cmp.Or(cmp.Compare(a.Link, b.Link), a.IP.Compare(b.IP))
}

func compareFDB(a, b FDBEntry) int {
	return cmp.Or(cmp.Compare(a.Link, b.Link), slices.Compare(a.MAC[:], b.MAC[:]), a.Dst.Compare(b.Dst))
}

func compareRoute(a, b RouteKey) int {
	return cmp.Or(a.Dst.Compare(b.Dst), cmp.Compare(a.Metric, b.Metric))
}
