package kernel

import "net/netip"

// diffTable returns the transaction that makes desired out of actual, nil when
// they are equal. No table is nil.
//
// Elements are added and removed one by one, so that a set of thousands costs
// what changed in it. A chain with one wrong rule is flushed and filled again:
// it has a handful of rules, and its counters are for people.
func diffTable(actual, desired *Table) Op {
	var c TableChange
	switch {
	case desired == nil && actual == nil:
	case desired == nil:
		// Adding first makes the script succeed when the table is gone
		// meanwhile; nft's destroy needs Linux 6.3.
		c.add(nftAddTable{actual.Flags}, nftDeleteTable{})
	case actual == nil:
		c.addTable(desired)
	case actual.Flags != desired.Flags:
		// Waking up a dormant table is not atomic (nf_tables_table_enable
		// registers the hooks one by one); a new table is.
		c.add(nftDeleteTable{})
		c.addTable(desired)
	default:
		newTableDiff(actual, desired).change(&c)
	}
	if len(c.commands) == 0 {
		return nil
	}
	return c
}

// tableDiff holds the decisions about one pair of tables.
type tableDiff struct {
	actual, desired *Table

	staleSets   map[string]bool // sets and maps that must go; a desired one of that name comes anew
	staleChains map[string]bool // likewise
	refill      map[string]bool // chains that stay but whose rules are written again
}

func newTableDiff(actual, desired *Table) tableDiff {
	d := tableDiff{actual, desired, map[string]bool{}, map[string]bool{}, map[string]bool{}}
	for name, have := range actual.Sets {
		want, ok := desired.Sets[name]
		if !ok || want.Type != have.Type || want.Interval != have.Interval {
			d.staleSets[name] = true
		}
	}
	for name, have := range actual.Maps {
		if want, ok := desired.Maps[name]; !ok || want.Type != have.Type {
			d.staleSets[name] = true
		}
	}
	for name, have := range actual.Chains {
		want, ok := desired.Chains[name]
		switch {
		case !ok || want.Type != have.Type || want.Hook != have.Hook || want.Priority != have.Priority:
			d.staleChains[name] = true
		case !equalRules(have.Rules, want.Rules) || d.usesStaleSet(have.Rules):
			d.refill[name] = true
		}
	}
	return d
}

// change appends the commands. The order is what references demand: rules let
// go of sets and chains before those are deleted, and find the new ones made.
// A map goes before the chains that its elements may name.
func (d tableDiff) change(c *TableChange) {
	for _, name := range sortedKeys(d.actual.Chains) {
		if (d.staleChains[name] || d.refill[name]) && len(d.actual.Chains[name].Rules) > 0 {
			c.add(nftFlushChain{name})
		}
	}
	for _, name := range sortedKeys(d.staleSets) {
		if _, isMap := d.actual.Maps[name]; isMap {
			c.add(nftDeleteMap{name})
		} else {
			c.add(nftDeleteSet{name})
		}
	}
	for _, name := range sortedKeys(d.staleChains) {
		c.add(nftDeleteChain{name})
	}
	for _, name := range sortedKeys(d.desired.Sets) {
		d.changeSet(c, name)
	}
	for _, name := range sortedKeys(d.desired.Maps) {
		d.changeMap(c, name)
	}
	for _, name := range sortedKeys(d.desired.Chains) {
		have, ok := d.actual.Chains[name]
		want := d.desired.Chains[name]
		switch {
		case !ok, d.staleChains[name]:
			c.add(nftAddChain{name, bare(want)})
		case have.Policy != want.Policy:
			c.add(nftSetPolicy{nftAddChain{name, bare(want)}})
		}
	}
	for _, name := range sortedKeys(d.desired.Chains) {
		if _, ok := d.actual.Chains[name]; !ok || d.staleChains[name] || d.refill[name] {
			c.addRules(name, d.desired.Chains[name].Rules)
		}
	}
}

// changeSet deletes before it adds: an interval may have to make room for a
// wider one.
func (d tableDiff) changeSet(c *TableChange, name string) {
	want := d.desired.Sets[name]
	have, ok := d.actual.Sets[name]
	if !ok || d.staleSets[name] {
		c.addSet(name, want)
		return
	}
	c.deleteElements(name, want, without(have.Elements, want.Elements))
	c.addElements(name, want, without(want.Elements, have.Elements))
}

func (d tableDiff) usesStaleSet(rules []Rule) bool {
	for name := range d.staleSets {
		if usesSet(rules, name) {
			return true
		}
	}
	return false
}

func equalRules(a, b []Rule) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if !a[i].equal(b[i]) {
			return false
		}
	}
	return true
}

// without returns the elements of a that are not in b, sorted.
func without(a, b map[netip.Prefix]struct{}) []netip.Prefix {
	rest := make(map[netip.Prefix]struct{})
	for p := range a {
		if _, ok := b[p]; !ok {
			rest[p] = struct{}{}
		}
	}
	return sortedPrefixes(rest)
}
