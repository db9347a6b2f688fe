package kernel

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// apply returns the table that the transaction makes of t, which it leaves as
// it is. It is as strict as the kernel: what would fail there fails here.
func (c TableChange) apply(t *Table) (*Table, error) {
	next := t.clone()
	for _, command := range c.commands {
		_, isAdd := command.(nftAddTable)
		if next == nil && !isAdd {
			return t, fmt.Errorf("%s: no such table", command)
		}
		var err error
		if next, err = command.apply(next); err != nil {
			return t, fmt.Errorf("%s: %w", command, err)
		}
	}
	return next, nil
}

func (c nftAddTable) apply(t *Table) (*Table, error) {
	if t == nil {
		return &Table{Sets: map[string]Set{}, Maps: map[string]Map{}, Chains: map[string]Chain{}, Flags: c.flags}, nil
	}
	return t, nil
}

func (nftDeleteTable) apply(*Table) (*Table, error) { return nil, nil }

func (c nftAddSet) apply(t *Table) (*Table, error) {
	if err := checkName(c.name); err != nil {
		return t, err
	}
	switch {
	case c.typ.family() == "":
		return t, fmt.Errorf("set type %q is none of addresses", c.typ)
	case c.typ.isPair() && c.interval:
		return t, fmt.Errorf("a set of pairs has no intervals")
	}
	if m, ok := t.Maps[c.name]; ok {
		return t, fmt.Errorf("a map of that name exists, with type %s", m.Type)
	}
	s, ok := t.Sets[c.name]
	if ok && (s.Type != c.typ || s.Interval != c.interval) {
		return t, fmt.Errorf("set exists with type %s", s.Type)
	}
	if !ok {
		t.Sets[c.name] = Set{c.typ, c.interval, map[netip.Prefix]struct{}{}}
	}
	return t, nil
}

func (c nftDeleteSet) apply(t *Table) (*Table, error) {
	if _, ok := t.Sets[c.name]; !ok {
		return t, fmt.Errorf("no such set")
	}
	for name, chain := range t.Chains {
		if usesSet(chain.Rules, c.name) {
			return t, fmt.Errorf("set is in use by chain %s", name)
		}
	}
	delete(t.Sets, c.name)
	return t, nil
}

func (c nftAddElements) apply(t *Table) (*Table, error) {
	s, ok := t.Sets[c.set]
	if !ok {
		return t, fmt.Errorf("no such set")
	}
	for _, e := range c.elements {
		if (s.Type.family() == IPv4Addr) != e.Addr().Is4() {
			return t, fmt.Errorf("%s does not fit type %s", e, s.Type)
		}
		s.Elements[e] = struct{}{}
	}
	return t, checkElements(sortedPrefixes(s.Elements), s.Interval)
}

func (c nftDeleteElements) apply(t *Table) (*Table, error) {
	s, ok := t.Sets[c.set]
	if !ok {
		return t, fmt.Errorf("no such set")
	}
	for _, e := range c.elements {
		if _, ok := s.Elements[e]; !ok {
			return t, fmt.Errorf("no such element: %s", e)
		}
		delete(s.Elements, e)
	}
	return t, nil
}

func (c nftAddChain) apply(t *Table) (*Table, error) {
	if err := checkName(c.name); err != nil {
		return t, err
	}
	chain, ok := t.Chains[c.name]
	switch {
	case c.chain.Type != FilterChain && c.chain.Type != NATChain || !slices.Contains(hooks(), c.chain.Hook):
		return t, fmt.Errorf("no chain of type %q hooks into %q", c.chain.Type, c.chain.Hook)
	case c.chain.Type == NATChain && c.chain.Priority <= -200:
		return t, fmt.Errorf("nat works on tracked packets: a priority above -200 is needed")
	case c.chain.Type == NATChain && c.chain.Hook == Forward:
		return t, fmt.Errorf("a nat chain cannot hook into forward")
	case !ok:
		chain = bare(c.chain)
	case chain.Type != c.chain.Type || chain.Hook != c.chain.Hook || chain.Priority != c.chain.Priority:
		return t, fmt.Errorf("chain exists with type %s hook %s priority %d", chain.Type, chain.Hook, chain.Priority)
	}
	chain.Policy = c.chain.Policy
	t.Chains[c.name] = chain
	return t, nil
}

func (c nftFlushChain) apply(t *Table) (*Table, error) {
	chain, ok := t.Chains[c.name]
	if !ok {
		return t, fmt.Errorf("no such chain")
	}
	t.Chains[c.name] = bare(chain)
	return t, nil
}

func (c nftDeleteChain) apply(t *Table) (*Table, error) {
	if _, ok := t.Chains[c.name]; !ok {
		return t, fmt.Errorf("no such chain")
	}
	delete(t.Chains, c.name)
	return t, nil
}

func (c nftAddRule) apply(t *Table) (*Table, error) {
	chain, ok := t.Chains[c.chain]
	if !ok {
		return t, fmt.Errorf("no such chain")
	}
	if _, err := encodeRule(c.rule); err != nil {
		return t, err
	}
	for _, s := range c.rule.Statements {
		if err := checkPlace(s, chain); err != nil {
			return t, err
		}
		if err := t.checkReference(s); err != nil {
			return t, err
		}
	}
	chain.Rules = append(chain.Rules, c.rule)
	t.Chains[c.chain] = chain
	return t, nil
}

// checkReference says whether the set or map that a statement names is there.
func (t *Table) checkReference(s Statement) error {
	switch s := s.(type) {
	case InSet:
		if set, ok := t.Sets[s.Set]; !ok || set.Type != s.Type {
			return fmt.Errorf("no set %s of type %s", s.Set, s.Type)
		}
	case ToItself:
		if set, ok := t.Sets[s.Set]; !ok || set.Type != s.Type {
			return fmt.Errorf("no set %s of type %s", s.Set, s.Type)
		}
	case DNAT:
		if m, ok := t.Maps[s.Map]; !ok || m.Type != s.Type {
			return fmt.Errorf("no map %s of type %s", s.Map, s.Type)
		}
	}
	return nil
}

// checkPlace says whether the kernel takes a statement in a chain.
func checkPlace(s Statement, c Chain) error {
	switch s.(type) {
	case NoReturnPath:
		if c.Hook != Prerouting && c.Hook != Forward && c.Hook != inputHook {
			return fmt.Errorf("%s works where packets come in only, not in %s", s, c.Hook)
		}
	case DNAT:
		if c.Type != NATChain || c.Hook != Prerouting && c.Hook != Output {
			return fmt.Errorf("dnat works in a nat chain in prerouting or output only, not in a %s chain in %s", c.Type, c.Hook)
		}
	case MasqueradeRandom:
		if c.Type != NATChain || c.Hook != Postrouting {
			return fmt.Errorf("%s works in a nat chain in postrouting only, not in a %s chain in %s", s, c.Type, c.Hook)
		}
	}
	return nil
}

// checkElements says whether a set can hold sorted elements together.
func checkElements(sorted []netip.Prefix, interval bool) error {
	for i, e := range sorted {
		switch {
		case !e.IsValid() || e != e.Masked():
			return fmt.Errorf("element %s is not a masked prefix", e)
		case e.Addr().Is4In6() || e.Addr().Zone() != "":
			return fmt.Errorf("element %s is neither a plain IPv4 nor a plain IPv6 prefix", e)
		case !interval && !e.IsSingleIP():
			return fmt.Errorf("element %s is a prefix, and the set holds single addresses", e)
		case i > 0 && sorted[i-1].Overlaps(e):
			return fmt.Errorf("element %s overlaps %s", e, sorted[i-1])
		}
	}
	return nil
}

// checkName says whether nft's scanner reads a name as one word.
func checkName(name string) error {
	letter := func(r rune) bool { return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' }
	other := func(r rune) bool { return !letter(r) && (r < '0' || r > '9') && r != '-' && r != '_' }
	if name == "" || len(name) > 64 || !letter(rune(name[0])) || strings.ContainsFunc(name, other) {
		return fmt.Errorf("%q is no nft name: use a letter, then up to 63 letters, digits, - and _", name)
	}
	return nil
}

// usesSet says whether any rule refers to the set or map.
func usesSet(rules []Rule, set string) bool {
	return slices.ContainsFunc(rules, func(r Rule) bool {
		return slices.ContainsFunc(r.Statements, func(s Statement) bool {
			switch s := s.(type) {
			case InSet:
				return s.Set == set
			case ToItself:
				return s.Set == set
			case DNAT:
				return s.Map == set
			case Unrecognised:
				return slices.Contains(strings.Fields(s.Text), "@"+set)
			}
			return false
		})
	})
}
