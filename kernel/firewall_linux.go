package kernel

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// firewallMemory keeps what was last read of somebody else's chains: as long
// as the ruleset has the same generation nothing has to be read again, however
// many chains a service proxy makes.
type firewallMemory struct {
	generation uint32 // 0: nothing has been read
	found      firewallReading

	mu sync.Mutex
	// watched are the chains that it was read from; fresh those of a reading
	// that is under way.
	watched, fresh map[ForeignChain]bool
}

// firewallReading is what a snapshot holds of somebody else's chains.
type firewallReading struct {
	firewalls  []Firewall
	admissions map[Admission]AdmissionPlace
	strays     map[ForeignRule]struct{}
}

// isWatched says whether a chain has a part in what was last read.
func (m *firewallMemory) isWatched(c ForeignChain) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.watched[c] || m.fresh[c]
}

// watch adds a chain before it is read, so that a change after that is seen.
func (m *firewallMemory) watch(c ForeignChain) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fresh == nil {
		m.fresh = map[ForeignChain]bool{}
	}
	m.fresh[c] = true
}

// keep ends a reading.
func (m *firewallMemory) keep(found firewallReading, generation uint32) {
	m.found, m.generation = found, generation
	m.mu.Lock()
	defer m.mu.Unlock()
	m.watched, m.fresh = m.fresh, nil
}

// tableFamilies are the kernel's numbers of the families that see pods.
func tableFamilies() map[byte]TableFamily {
	return map[byte]TableFamily{unix.NFPROTO_IPV4: FamilyIPv4, unix.NFPROTO_IPV6: FamilyIPv6, unix.NFPROTO_INET: FamilyInet}
}

func (f TableFamily) number() byte {
	for number, family := range tableFamilies() {
		if family == f {
			return number
		}
	}
	return unix.NFPROTO_UNSPEC
}

// readFirewalls reads what other firewalls do to packets of pods.
func (c *conn) readFirewalls(ctx context.Context, r *reading) error {
	t, err := openTableConn(ctx, c.ns, sendBuffer)
	if err != nil {
		return fmt.Errorf("read other firewalls: %w", err)
	}
	defer t.close()
	for range snapshotAttempts {
		if err = c.refreshFirewalls(t); err == nil || !errors.Is(err, errInterrupted) || ctx.Err() != nil {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("read other firewalls: %w", errors.Join(err, ctx.Err()))
	}
	found := c.firewalls.found.clone()
	legacy, err := c.legacyFirewalls()
	if err != nil {
		return err
	}
	r.snapshot.Firewalls = append(found.firewalls, legacy...)
	r.snapshot.State.Admissions, r.snapshot.State.Strays = found.admissions, found.strays
	return nil
}

func (c *conn) refreshFirewalls(t *tableConn) error {
	before, err := t.generation()
	if err != nil {
		return explainUnsupported(err)
	}
	if before == c.firewalls.generation {
		return nil
	}
	c.firewalls.generation = 0
	found, err := t.firewalls(c.firewalls.watch)
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return err
	}
	after, afterErr := t.generation()
	if afterErr != nil {
		return afterErr
	}
	if before != after {
		return errInterrupted
	}
	if err != nil {
		return err
	}
	c.firewalls.keep(found, before)
	return nil
}

// firewalls looks at every base chain of others through which packets are
// forwarded or come in.
func (c *tableConn) firewalls(watch func(ForeignChain)) (firewallReading, error) {
	found := firewallReading{admissions: map[Admission]AdmissionPlace{}, strays: map[ForeignRule]struct{}{}}
	flags, err := c.tableFlags()
	if err != nil {
		return found, err
	}
	messages, err := c.ask(unix.NFPROTO_UNSPEC, unix.NFT_MSG_GETCHAIN, netlink.Dump)
	if err != nil {
		return found, fmt.Errorf("list chains: %w", err)
	}
	for _, m := range messages {
		listed, err := decodeChain(m.Data)
		if err != nil {
			return found, fmt.Errorf("decode chain: %w", err)
		}
		family, ok := tableFamilies()[m.Data[0]]
		chain := ForeignChain{family, listed.table, listed.name}
		if !ok || isOwnChain(chain) || listed.chain.Type != FilterChain || listed.chain.Hook != Forward && listed.chain.Hook != Input {
			continue
		}
		state := flags[ForeignChain{Family: family, Table: listed.table}]
		if slices.Contains(state, "dormant") {
			continue
		}
		base := baseChain{chain, listed.chain.Hook, listed.chain.Policy, slices.Contains(state, "owner")}
		if err := c.inspect(base, watch, &found); err != nil {
			return found, err
		}
	}
	slices.SortFunc(found.firewalls, func(a, b Firewall) int { return compareChains(a.Chain, b.Chain) })
	return found, nil
}

func isOwnChain(c ForeignChain) bool { return c.Family == FamilyInet && c.Table == TableName }

// tableFlags lists the flags of all tables, by a name without a chain.
func (c *tableConn) tableFlags() (map[ForeignChain][]string, error) {
	messages, err := c.ask(unix.NFPROTO_UNSPEC, unix.NFT_MSG_GETTABLE, netlink.Dump)
	if err != nil {
		return nil, fmt.Errorf("list tables: %w", err)
	}
	all := map[ForeignChain][]string{}
	for _, m := range messages {
		flags, err := decodeTableFlags(m.Data)
		if err != nil {
			return nil, fmt.Errorf("decode table: %w", err)
		}
		name := ""
		err = decodeAttributes(m.Data, func(ad *netlink.AttributeDecoder) error {
			if ad.Type() == unix.NFTA_TABLE_NAME {
				name = ad.String()
			}
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("decode table: %w", err)
		}
		all[ForeignChain{Family: tableFamilies()[m.Data[0]], Table: name}] = strings.Split(flags, ",")
	}
	return all, nil
}

// baseChain is a base chain of somebody else's.
type baseChain struct {
	ForeignChain
	hook   Hook
	policy ChainPolicy
	owned  bool
}

// inspect finds out whether a base chain drops, and which of its rules are ours.
func (c *tableConn) inspect(base baseChain, watch func(ForeignChain), found *firewallReading) error {
	j := newJudge(func(chain string) ([]foreignRule, error) {
		name := ForeignChain{base.Family, base.Table, chain}
		watch(name)
		return c.foreignRules(name)
	})
	end, does, err := j.decision(base.Chain)
	if err != nil {
		return err
	}
	if does == returns && base.policy == PolicyDrop {
		does = drops
	}
	rules := j.read[base.Chain]
	if base.hook == Forward {
		found.sort(base.ForeignChain, rules, end)
	}
	if does != drops {
		return nil
	}
	f := Firewall{Chain: base.ForeignChain, Hook: base.hook, Owned: base.owned, Program: program(base.Table, rules)}
	place, err := j.place(rules, end)
	if err != nil {
		return err
	}
	if place < len(rules) {
		f.Before = rules[place].handle
	}
	if base.hook == Input {
		if err := j.passes(base.Chain, end, narrowing{}, &f.Passes); err != nil {
			return err
		}
	}
	found.firewalls = append(found.firewalls, f)
	return nil
}

// sort tells rules of ours that do something from those that do not: later than
// where everything is decided, or there twice.
func (f *firewallReading) sort(chain ForeignChain, rules []foreignRule, end int) {
	for i, r := range rules {
		if r.own == "" {
			continue
		}
		a := Admission{chain, r.own}
		if _, twice := f.admissions[a]; twice || i > end {
			f.strays[ForeignRule{chain, r.handle}] = struct{}{}
			continue
		}
		f.admissions[a] = AdmissionPlace{Handle: r.handle}
	}
}

func (c *tableConn) foreignRules(chain ForeignChain) ([]foreignRule, error) {
	messages, err := c.ask(chain.Family.number(), unix.NFT_MSG_GETRULE, netlink.Dump,
		nameAttribute(unix.NFTA_RULE_TABLE, chain.Table), nameAttribute(unix.NFTA_RULE_CHAIN, chain.Chain))
	if err != nil {
		return nil, fmt.Errorf("list rules of chain %s: %w", chain, err)
	}
	var rules []foreignRule
	for _, m := range messages {
		listed, err := decodeListedRule(m.Data, anyChain)
		if err != nil || listed.chain != chain.Chain {
			continue // a kernel that does not filter lists others too
		}
		r, err := decodeForeignRule(m.Data, func(set string) [][]byte { return c.keys(chain, set) })
		if err != nil {
			return nil, fmt.Errorf("decode a rule of chain %s: %w", chain, err)
		}
		rules = append(rules, r)
	}
	return rules, nil
}

// keys lists the keys of a set of somebody else's, nil if that cannot be done.
func (c *tableConn) keys(chain ForeignChain, set string) [][]byte {
	messages, err := c.ask(chain.Family.number(), unix.NFT_MSG_GETSETELEM, netlink.Dump,
		nameAttribute(unix.NFTA_SET_ELEM_LIST_TABLE, chain.Table), nameAttribute(unix.NFTA_SET_ELEM_LIST_SET, set))
	if err != nil {
		return nil
	}
	var keys [][]byte
	for _, m := range messages {
		more, err := decodeKeys(m.Data)
		if err != nil {
			return nil
		}
		keys = append(keys, more...)
	}
	return keys
}
