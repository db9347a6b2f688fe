package kernel

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/nftables"
	"github.com/google/nftables/userdata"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// applyTable carries out the transaction in ns. Its error does not name the
// table, for [OpError] does.
func applyTable(ctx context.Context, ns netns.NsHandle, change TableChange) error {
	err := sendChange(ctx, ns, change)
	if err != nil && ctx.Err() != nil {
		return ctx.Err() // the library has an error of its own for each command that was not answered
	}
	return err
}

func sendChange(ctx context.Context, ns netns.NsHandle, change TableChange) error {
	c, err := openTableConn(ctx, ns, sendBuffer+change.size())
	if err != nil {
		return err
	}
	defer c.close()
	// A kernel without nf_tables answers a transaction once, and the library
	// would wait for more: ask something simple first.
	if _, err := c.generation(); err != nil {
		return explainUnsupported(err)
	}
	return c.send(change)
}

// send carries out a change in one transaction, on a socket with room for it, of
// a kernel that has nf_tables.
func (c *tableConn) send(change TableChange) error {
	table := &nftables.Table{Name: TableName, Family: nftables.TableFamilyINet}
	for i, command := range change.commands {
		// The library numbers sets by a global that is not locked; a number
		// of our own keeps it from that.
		w := tableWriter{c.nft, table, uint32(i + 1)}
		if err := w.write(command); err != nil {
			return fmt.Errorf("%s: %w", command, err)
		}
	}
	return explainChange(c.nft.Flush())
}

// size is an upper bound of the bytes that the elements take.
func (c TableChange) size() int {
	n := 0
	for _, command := range c.commands {
		n += elementBytes * elementsPerCommand / 8
		switch command.(type) {
		case nftAddElements, nftDeleteElements, nftAddMapElements:
			n += elementBytes * elementsPerCommand
		}
	}
	return n
}

// tableWriter queues commands on a connection.
type tableWriter struct {
	nft   *nftables.Conn
	table *nftables.Table
	setID uint32 // unique in the transaction
}

func (w tableWriter) write(command tableCommand) error {
	switch c := command.(type) {
	case nftAddTable:
		w.nft.AddTable(w.table)
	case nftDeleteTable:
		w.nft.DelTable(w.table)
	case nftAddSet:
		return w.nft.AddSet(w.set(c.name, c.typ, c.interval), nil)
	case nftDeleteSet:
		w.nft.DelSet(w.set(c.name, IPv4Addr, false))
	case nftAddMap:
		return w.nft.AddSet(encodeMap(w.table, w.setID, c.name, c.typ), nil)
	case nftDeleteMap:
		w.nft.DelSet(w.set(c.name, IPv4Addr, false))
	case nftAddMapElements:
		return w.addMapElements(c)
	case nftDeleteMapElement:
		set := encodeMap(w.table, w.setID, c.name, c.typ)
		return w.nft.SetDeleteElements(set, []nftables.SetElement{{Key: encodePortKey(c.key)}})
	case nftAddElements:
		if err := checkElements(c.elements, c.interval); err != nil {
			return err
		}
		set := w.set(c.set, c.typ, c.interval)
		return w.nft.SetAddElements(set, encodeElements(set, c.elements, c.typ))
	case nftDeleteElements:
		set := w.set(c.set, c.typ, c.interval)
		return w.nft.SetDeleteElements(set, encodeElements(set, c.elements, c.typ))
	case nftAddChain:
		if err := w.addChain(c); err != nil {
			return err
		}
		// Somebody else may have made it meanwhile, and given it the same rules.
		w.nft.FlushChain(w.chain(c.name))
	case nftSetPolicy:
		return w.addChain(c.nftAddChain)
	case nftFlushChain:
		w.nft.FlushChain(w.chain(c.name))
	case nftDeleteChain:
		w.nft.DelChain(w.chain(c.name))
	case nftAddRule:
		return w.addRule(c)
	}
	return nil
}

func (w tableWriter) set(name string, typ SetType, interval bool) *nftables.Set {
	key := nftables.TypeIPAddr
	if typ.family() == IPv6Addr {
		key = nftables.TypeIP6Addr
	}
	if typ.isPair() {
		n := key.GetNFTMagic()
		key.Bytes *= 2
		key.SetNFTMagic(concatType(n, n))
	}
	return &nftables.Set{Table: w.table, ID: w.setID, Name: name, KeyType: key, Interval: interval}
}

func (w tableWriter) addMapElements(c nftAddMapElements) error {
	m := Map{Type: c.typ}
	elements := make([]nftables.SetElement, 0, len(c.keys))
	for _, k := range c.keys {
		to := c.elements[k]
		if err := m.checkElement(k, to); err != nil {
			return err
		}
		elements = append(elements, nftables.SetElement{Key: encodePortKey(k), Val: encodeAddrPort(to)})
	}
	return w.nft.SetAddElements(encodeMap(w.table, w.setID, c.name, c.typ), elements)
}

func (w tableWriter) chain(name string) *nftables.Chain {
	return &nftables.Chain{Table: w.table, Name: name}
}

func (w tableWriter) addChain(c nftAddChain) error {
	for number, hook := range hooks() {
		if hook != c.chain.Hook {
			continue
		}
		policy := nftables.ChainPolicyAccept
		if c.chain.Policy == PolicyDrop {
			policy = nftables.ChainPolicyDrop
		}
		chain := w.chain(c.name)
		chain.Type = nftables.ChainType(c.chain.Type)
		chain.Hooknum = nftables.ChainHookRef(nftables.ChainHook(number))
		chain.Priority = nftables.ChainPriorityRef(nftables.ChainPriority(c.chain.Priority))
		chain.Policy = &policy
		w.nft.AddChain(chain)
		return nil
	}
	return fmt.Errorf("no hook %q", c.chain.Hook)
}

func (w tableWriter) addRule(c nftAddRule) error {
	exprs, err := encodeRule(c.rule)
	if err != nil {
		return err
	}
	rule := &nftables.Rule{Table: w.table, Chain: w.chain(c.chain), Exprs: exprs}
	if c.rule.Comment != "" {
		rule.UserData = userdata.AppendString(nil, userdata.TypeComment, c.rule.Comment)
	}
	w.nft.AddRule(rule)
	return nil
}

// explainChange adds the remedy to what the kernel says to a transaction.
func explainChange(err error) error {
	switch {
	case errors.Is(err, unix.ENOENT):
		return fmt.Errorf("%w: the table was changed by somebody else meanwhile (the next attempt sees that), "+
			"or the kernel lacks one of the modules nft_fib_inet, nft_masq, nft_nat, nft_ct", err)
	case errors.Is(err, unix.EBUSY):
		return fmt.Errorf("%w: something of somebody else's refers to what should go; see: nft list table inet %s",
			err, TableName)
	case errors.Is(err, unix.EOPNOTSUPP):
		return fmt.Errorf("%w: the kernel lacks nf_tables for family inet or nat; "+
			"use one with CONFIG_NF_TABLES_INET and CONFIG_NFT_NAT", err)
	case errors.Is(err, unix.EPERM):
		return explainUnsupported(err)
	}
	return err
}
