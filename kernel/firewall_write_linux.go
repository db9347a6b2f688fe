package kernel

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

func (r firewallReading) clone() firewallReading {
	r.firewalls = slices.Clone(r.firewalls)
	r.admissions, r.strays = maps.Clone(r.admissions), maps.Clone(r.strays)
	if r.admissions == nil {
		r.admissions, r.strays = map[Admission]AdmissionPlace{}, map[ForeignRule]struct{}{}
	}
	return r
}

// admit inserts or appends a rule of ours. Since the plan was made the chain may
// have changed, so its place is looked for once more, and the rule is made only
// if the ruleset is still the one that was looked at.
func (a *application) admit(op AdmissionAdd) error {
	return a.conn.withTables(a.ctx, func(c *tableConn) error {
		return c.unchanged(func(generation uint32) error { return c.addOwn(op, generation) })
	})
}

// unchanged calls change with the generation of the ruleset, again when the
// ruleset had another one meanwhile.
func (c *tableConn) unchanged(change func(generation uint32) error) error {
	var err error
	for range snapshotAttempts {
		var generation uint32
		if generation, err = c.generation(); err != nil {
			return err
		}
		if err = change(generation); !errors.Is(err, unix.ERESTART) && !errors.Is(err, errInterrupted) {
			return err
		}
	}
	return err
}

func (c *tableConn) addOwn(op AdmissionAdd, generation uint32) error {
	found, err := c.firewalls(func(ForeignChain) {})
	if err != nil {
		return err
	}
	at := slices.IndexFunc(found.firewalls, func(f Firewall) bool { return f.Chain == op.Chain })
	if _, there := found.admissions[op.Admission]; there || at < 0 {
		return nil // somebody was faster, or the chain lets pods pass by now
	}
	op.Before = found.firewalls[at].Before
	rule, err := marshalAdmission(op)
	if err != nil {
		return err
	}
	flags := netlink.Create
	if op.Before == 0 {
		flags |= netlink.Append
	}
	return c.commit(&generation, commandMessage(op.Chain.Family, unix.NFT_MSG_NEWRULE, flags, rule))
}

func marshalAdmission(op AdmissionAdd) ([]byte, error) {
	var list []netlink.Attribute
	for _, e := range admissionRule(op.Packets) {
		data, err := expr.Marshal(op.Chain.Family.number(), e)
		if err != nil {
			return nil, err
		}
		list = append(list, netlink.Attribute{Type: unix.NLA_F_NESTED | unix.NFTA_LIST_ELEM, Data: data})
	}
	expressions, err := netlink.MarshalAttributes(list)
	if err != nil {
		return nil, err
	}
	attributes := []netlink.Attribute{
		nameAttribute(unix.NFTA_RULE_TABLE, op.Chain.Table),
		nameAttribute(unix.NFTA_RULE_CHAIN, op.Chain.Chain),
		{Type: unix.NLA_F_NESTED | unix.NFTA_RULE_EXPRESSIONS, Data: expressions},
	}
	if op.Before != 0 {
		attributes = append(attributes, netlink.Attribute{Type: unix.NFTA_RULE_POSITION, Data: binaryutil.BigEndian.PutUint64(op.Before)})
	}
	return netlink.MarshalAttributes(attributes)
}

// expel deletes a rule of ours. A table that was made anew counts its handles
// from the beginning, so the rule is looked at once more, and deleted only if
// the ruleset is still the one that was looked at.
func (a *application) expel(op AdmissionDel) error {
	return a.conn.withTables(a.ctx, func(c *tableConn) error {
		return c.unchanged(func(generation uint32) error { return c.deleteOwn(op.ForeignRule, generation) })
	})
}

func (c *tableConn) deleteOwn(rule ForeignRule, generation uint32) error {
	rules, err := c.foreignRules(rule.Chain)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(rules, func(r foreignRule) bool { return r.handle == rule.Handle && r.own != "" }) {
		return nil // it is gone
	}
	attributes, err := netlink.MarshalAttributes([]netlink.Attribute{
		nameAttribute(unix.NFTA_RULE_TABLE, rule.Chain.Table),
		nameAttribute(unix.NFTA_RULE_CHAIN, rule.Chain.Chain),
		{Type: unix.NFTA_RULE_HANDLE, Data: binaryutil.BigEndian.PutUint64(rule.Handle)},
	})
	if err != nil {
		return err
	}
	return c.commit(&generation, commandMessage(rule.Chain.Family, unix.NFT_MSG_DELRULE, 0, attributes))
}

// withTables calls f with an open socket to nf_tables.
func (c *conn) withTables(ctx context.Context, f func(*tableConn) error) error {
	t, err := openTableConn(ctx, c.ns, sendBuffer)
	if err != nil {
		return err
	}
	defer t.close()
	return f(t)
}

// commandMessage is one command of a transaction, which the kernel is to confirm.
func commandMessage(family TableFamily, kind int, flags netlink.HeaderFlags, attributes []byte) netlink.Message {
	return netlink.Message{
		Header: netlink.Header{
			Type:  netlink.HeaderType(unix.NFNL_SUBSYS_NFTABLES<<8 | kind),
			Flags: netlink.Request | netlink.Acknowledge | flags,
		},
		Data: append([]byte{family.number(), unix.NFNETLINK_V0, 0, 0}, attributes...),
	}
}

// commit carries out a transaction of one command. With a generation the kernel
// refuses it (ERESTART) when the ruleset has another one by now.
func (c *tableConn) commit(generation *uint32, command netlink.Message) error {
	limit := func(kind int, attributes ...netlink.Attribute) (netlink.Message, error) {
		data, err := netlink.MarshalAttributes(attributes)
		return netlink.Message{
			Header: netlink.Header{Type: netlink.HeaderType(kind), Flags: netlink.Request},
			Data:   append([]byte{unix.AF_UNSPEC, unix.NFNETLINK_V0, 0, unix.NFNL_SUBSYS_NFTABLES}, data...),
		}, err
	}
	var expected []netlink.Attribute
	if generation != nil {
		expected = append(expected, netlink.Attribute{Type: unix.NFNL_BATCH_GENID, Data: binaryutil.BigEndian.PutUint32(*generation)})
	}
	begin, err := limit(unix.NFNL_MSG_BATCH_BEGIN, expected...)
	if err != nil {
		return err
	}
	end, err := limit(unix.NFNL_MSG_BATCH_END)
	if err != nil {
		return err
	}
	if _, err := c.nl.SendMessages([]netlink.Message{begin, command, end}); err != nil {
		return fmt.Errorf("send transaction: %w", err)
	}
	if _, err := c.nl.Receive(); err != nil {
		return explainChange(err)
	}
	return nil
}
