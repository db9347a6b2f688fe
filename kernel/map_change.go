package kernel

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
)

type (
	nftAddMap struct {
		name string
		typ  MapType
	}
	nftDeleteMap      struct{ name string }
	nftAddMapElements struct {
		name     string
		typ      MapType
		keys     []PortKey
		elements map[PortKey]netip.AddrPort
	}
	// nftDeleteMapElement deletes by key, whatever the element's value.
	nftDeleteMapElement struct {
		name string
		typ  MapType
		key  PortKey
	}
)

func (c nftAddMap) String() string {
	return nftLine("add map", c.name, fmt.Sprintf("{ type %s; }", c.typ))
}

func (c nftDeleteMap) String() string { return nftLine("delete map", c.name) }

func (c nftAddMapElements) String() string {
	return nftLine("add element", c.name, bracedElements(c.keys, c.elements))
}

func (c nftDeleteMapElement) String() string {
	return nftLine("delete element", c.name, "{ "+c.key.String()+" }")
}

func (c *TableChange) addMap(name string, m Map) {
	c.add(nftAddMap{name, m.Type})
	c.addMapElements(name, m, sortedPorts(m.Elements))
}

func (c *TableChange) addMapElements(name string, m Map, keys []PortKey) {
	for chunk := range slices.Chunk(keys, elementsPerCommand) {
		c.add(nftAddMapElements{name, m.Type, chunk, m.Elements})
	}
}

// apart splits the transaction in two kinds: everything but the deletion of
// elements of maps and of pairs, and one transaction for each of these. Plugins
// delete such elements at the same time, and what is gone already must not undo
// the rest.
func (c TableChange) apart() []Op {
	added := map[string]bool{}
	for _, command := range c.commands {
		if add, ok := command.(nftAddMapElements); ok {
			for _, k := range add.keys {
				added[add.name+" "+k.String()] = true
			}
		}
	}
	var rest TableChange
	var ops []Op
	for _, command := range c.commands {
		switch c := command.(type) {
		case nftDeleteMapElement:
			if !added[c.name+" "+c.key.String()] {
				ops = append(ops, TableChange{[]tableCommand{c}})
				continue
			}
		case nftDeleteElements:
			if c.typ.isPair() {
				for _, e := range c.elements {
					ops = append(ops, TableChange{[]tableCommand{nftDeleteElements{c.set, c.typ, false, []netip.Prefix{e}}}})
				}
				continue
			}
		}
		rest.add(command)
	}
	if len(rest.commands) > 0 {
		ops = append([]Op{rest}, ops...)
	}
	return ops
}

// onlyDeletesElement says whether the transaction deletes one element of a map
// or one pair, and does nothing else.
func (c TableChange) onlyDeletesElement() bool {
	if len(c.commands) != 1 {
		return false
	}
	switch command := c.commands[0].(type) {
	case nftDeleteMapElement:
		return true
	case nftDeleteElements:
		return command.typ.isPair() && len(command.elements) == 1
	}
	return false
}

// IsLeftover says whether an operation deletes what pods leave: routes and
// neighbours through a pod link, shapers, an element of a map or a pair. The plugin
// does the same when it detaches a pod, at that moment perhaps.
func IsLeftover(op Op) bool {
	switch op := op.(type) {
	case RouteDel:
		return isPodLink(op.Link)
	case NeighbourDel:
		return isPodLink(op.Link)
	case ShaperDel:
		return true
	case TableChange:
		return op.onlyDeletesElement()
	}
	return false
}

// errNoElement is the memory's ENOENT.
var errNoElement = errors.New("no such element")

func (c nftAddMap) apply(t *Table) (*Table, error) {
	if err := checkName(c.name); err != nil {
		return t, err
	}
	if c.typ.family() == "" {
		return t, fmt.Errorf("map type %q is not known", c.typ)
	}
	if s, ok := t.Sets[c.name]; ok {
		return t, fmt.Errorf("a set of that name exists, with type %s", s.Type)
	}
	m, ok := t.Maps[c.name]
	if ok && m.Type != c.typ {
		return t, fmt.Errorf("map exists with type %s", m.Type)
	}
	if !ok {
		t.Maps[c.name] = Map{c.typ, map[PortKey]netip.AddrPort{}}
	}
	return t, nil
}

func (c nftDeleteMap) apply(t *Table) (*Table, error) {
	if _, ok := t.Maps[c.name]; !ok {
		return t, fmt.Errorf("no such map")
	}
	for name, chain := range t.Chains {
		if usesSet(chain.Rules, c.name) {
			return t, fmt.Errorf("map is in use by chain %s", name)
		}
	}
	delete(t.Maps, c.name)
	return t, nil
}

// apply refuses another value for a key that is there, as the kernel does;
// the same value once more is no error.
func (c nftAddMapElements) apply(t *Table) (*Table, error) {
	m, ok := t.Maps[c.name]
	if !ok || m.Type != c.typ {
		return t, fmt.Errorf("no such map")
	}
	for _, k := range c.keys {
		to := c.elements[k]
		if err := m.checkElement(k, to); err != nil {
			return t, err
		}
		if have, taken := m.Elements[k]; taken && have != to {
			return t, fmt.Errorf("element %s exists", printElement(k, have))
		}
		m.Elements[k] = to
	}
	return t, nil
}

func (c nftDeleteMapElement) apply(t *Table) (*Table, error) {
	m, ok := t.Maps[c.name]
	if !ok || m.Type != c.typ {
		return t, fmt.Errorf("no such map")
	}
	if _, ok := m.Elements[c.key]; !ok {
		return t, fmt.Errorf("%s: %w", c.key, errNoElement)
	}
	delete(m.Elements, c.key)
	return t, nil
}

// changeMap deletes an element before it adds one of the same key.
func (d tableDiff) changeMap(c *TableChange, name string) {
	want := d.desired.Maps[name]
	have, ok := d.actual.Maps[name]
	if !ok || d.staleSets[name] {
		c.addMap(name, want)
		return
	}
	for _, k := range goneKeys(have.Elements, want.Elements) {
		c.add(nftDeleteMapElement{name, want.Type, k})
	}
	var fresh []PortKey
	for _, k := range sortedPorts(want.Elements) {
		old, exists := have.Elements[k]
		if exists && old != want.Elements[k] {
			c.add(nftDeleteMapElement{name, want.Type, k})
		}
		if !exists || old != want.Elements[k] {
			fresh = append(fresh, k)
		}
	}
	c.addMapElements(name, want, fresh)
}
