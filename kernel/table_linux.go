package kernel

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

const (
	// snapshotAttempts bounds how often a table is read anew because
	// somebody changed the namespace's ruleset meanwhile.
	snapshotAttempts = 20

	// Buffers of the socket, bytes. A transaction is one message to the
	// kernel: 10,000 prefixes are about 1 MB.
	sendBuffer    = 1 << 20
	receiveBuffer = 1 << 20
	elementBytes  = 128 // an upper bound for one prefix in a message
)

// errInterrupted says that the ruleset changed while it was read.
var errInterrupted = errors.New("the ruleset changed while it was read")

// tableConn is an open socket to nf_tables of one namespace.
type tableConn struct {
	nft  *nftables.Conn // writes
	nl   *netlink.Conn  // the same socket, to read by ourselves
	stop func() bool
	// part names the sets, maps and chains that are read; nil: all.
	part map[string]bool
	// empty leaves out the elements of sets and maps.
	empty  bool
	memory *tableMemory // of the whole table; nil: none
}

// tableMemory keeps what was last read of the table: as long as the ruleset has the
// same generation, which each change by anybody raises, it need not be read again.
type tableMemory struct {
	generation uint32 // 0: nothing has been read
	table      *Table // nil: there is none
}

// openTableConn opens a socket in ns, or in the namespace of the calling
// thread if ns is not open. What is done on it ends when ctx does.
func openTableConn(ctx context.Context, ns netns.NsHandle, send int) (*tableConn, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	var c tableConn
	var optionErr error
	// The library leaks the socket when an option fails; so none does.
	capture := func(nl *netlink.Conn) error {
		c.nl = nl
		optionErr = errors.Join(nl.SetWriteBuffer(send), nl.SetReadBuffer(receiveBuffer),
			nl.SetOption(netlink.CapAcknowledge, true))
		return nil
	}
	options := []nftables.ConnOption{nftables.AsLasting(), nftables.WithSockOptions(capture)}
	if ns.IsOpen() {
		options = append(options, nftables.WithNetNSFd(int(ns)))
	}
	var err error
	if c.nft, err = nftables.New(options...); err != nil {
		return nil, explainUnsupported(err)
	}
	// The library waits for one answer per command, also when the kernel
	// gives a single one for all; only a deadline ends that.
	c.stop = context.AfterFunc(ctx, func() { _ = c.nl.SetDeadline(time.Unix(1, 0)) })
	if deadline, ok := ctx.Deadline(); ok {
		optionErr = errors.Join(optionErr, c.nl.SetDeadline(deadline))
	}
	if optionErr != nil {
		c.close()
		return nil, fmt.Errorf("prepare netlink socket: %w", optionErr)
	}
	return &c, nil
}

func (c *tableConn) close() {
	c.stop()
	_ = c.nft.CloseLasting()
}

// snapshotTable reads the table in ns, nil if there is none.
func snapshotTable(ctx context.Context, ns netns.NsHandle) (*Table, error) {
	return snapshotPart(ctx, ns, nil)
}

// snapshotPart reads what of the table has one of the names in part, or all.
func snapshotPart(ctx context.Context, ns netns.NsHandle, part map[string]bool) (*Table, error) {
	c, err := openTableConn(ctx, ns, sendBuffer)
	if err != nil {
		return nil, fmt.Errorf("read nftables table inet %s: %w", TableName, err)
	}
	defer c.close()
	c.part = part
	return c.settled(ctx)
}

// settled reads until nobody has changed the ruleset meanwhile.
func (c *tableConn) settled(ctx context.Context) (*Table, error) {
	var err error
	for range snapshotAttempts {
		var t *Table
		if t, err = c.snapshot(); err == nil {
			return t, nil
		}
		if !errors.Is(err, errInterrupted) || ctx.Err() != nil {
			break
		}
	}
	return nil, fmt.Errorf("read nftables table inet %s: %w", TableName, errors.Join(err, ctx.Err()))
}

// snapshot reads once. The pieces belong together if the ruleset had the same
// generation before and after.
func (c *tableConn) snapshot() (*Table, error) {
	before, err := c.generation()
	if err != nil {
		return nil, explainUnsupported(err)
	}
	if c.memory != nil && before != 0 && before == c.memory.generation {
		return c.memory.table.clone(), nil
	}
	t, err := c.table()
	if err != nil && !errors.Is(err, errInterrupted) && !errors.Is(err, unix.ENOENT) {
		return nil, err
	}
	after, afterErr := c.generation()
	if afterErr != nil {
		return nil, afterErr
	}
	if before != after {
		return nil, errInterrupted
	}
	if errors.Is(err, unix.ENOENT) {
		t, err = nil, nil
	}
	if err == nil && c.memory != nil {
		*c.memory = tableMemory{before, t.clone()}
	}
	return t, err
}

func (c *tableConn) generation() (uint32, error) {
	messages, err := c.request(unix.NFT_MSG_GETGEN, 0)
	if err != nil {
		return 0, err
	}
	if len(messages) != 1 {
		return 0, fmt.Errorf("nf_tables answered with %d messages instead of its generation", len(messages))
	}
	return decodeGeneration(messages[0].Data)
}

// table reads the table. ENOENT says that there is none.
func (c *tableConn) table() (*Table, error) {
	messages, err := c.request(unix.NFT_MSG_GETTABLE, 0, nameAttribute(unix.NFTA_TABLE_NAME, TableName))
	if err != nil {
		return nil, err
	}
	t := &Table{Sets: map[string]Set{}, Maps: map[string]Map{}, Chains: map[string]Chain{}}
	for _, m := range messages {
		if t.Flags, err = decodeTableFlags(m.Data); err != nil {
			return nil, fmt.Errorf("decode table: %w", err)
		}
	}
	for _, read := range []func(*Table) error{c.sets, c.chains, c.rules} {
		if err := read(t); err != nil {
			return nil, err
		}
	}
	return t, nil
}

func (c *tableConn) sets(t *Table) error {
	messages, err := c.request(unix.NFT_MSG_GETSET, netlink.Dump, nameAttribute(unix.NFTA_SET_TABLE, TableName))
	if err != nil {
		return fmt.Errorf("list sets: %w", err)
	}
	for _, m := range messages {
		s, err := decodeSet(m.Data)
		if err != nil {
			return fmt.Errorf("decode set: %w", err)
		}
		if s.anonymous || !c.reads(s.name) {
			continue
		}
		if err := c.fill(t, s); err != nil {
			return fmt.Errorf("list elements of set %s: %w", s.name, err)
		}
	}
	return nil
}

// fill adds a set or a map with its elements. One that holds something else
// than it should gets a set type that says so, and with it is replaced.
func (c *tableConn) fill(t *Table, s listedSet) error {
	if s.mapType == "" && s.set.Type.family() == "" {
		t.Sets[s.name] = s.set
		return nil
	}
	elements, err := c.elements(s.name)
	if err != nil {
		return err
	}
	if s.mapType != "" {
		decoded, ok := decodeMapElements(elements, s.mapType)
		if ok {
			t.Maps[s.name] = Map{s.mapType, decoded}
		} else {
			t.Sets[s.name] = s.set
		}
		return nil
	}
	var ok bool
	s.set.Elements, ok = decodeElements(addresses(elements, s.set.Type), s.set.Type, s.set.Interval)
	if !ok {
		s.set.Type += " (ranges)"
	}
	t.Sets[s.name] = s.set
	return nil
}

func (c *tableConn) elements(set string) ([]listedElement, error) {
	if c.empty {
		return nil, nil
	}
	messages, err := c.request(unix.NFT_MSG_GETSETELEM, netlink.Dump,
		nameAttribute(unix.NFTA_SET_ELEM_LIST_TABLE, TableName), nameAttribute(unix.NFTA_SET_ELEM_LIST_SET, set))
	if err != nil {
		return nil, err
	}
	var elements []listedElement
	for _, m := range messages {
		more, err := decodeElementList(m.Data)
		if err != nil {
			return nil, err
		}
		elements = append(elements, more...)
	}
	return elements, nil
}

// chains reads the chains of all tables of the family, for the kernel does
// not filter them.
func (c *tableConn) chains(t *Table) error {
	messages, err := c.request(unix.NFT_MSG_GETCHAIN, netlink.Dump)
	if err != nil {
		return fmt.Errorf("list chains: %w", err)
	}
	for _, m := range messages {
		chain, err := decodeChain(m.Data)
		if err != nil {
			return fmt.Errorf("decode chain: %w", err)
		}
		if chain.table == TableName && !chain.bound && c.reads(chain.name) {
			t.Chains[chain.name] = chain.chain
		}
	}
	return nil
}

func (c *tableConn) reads(name string) bool { return c.part == nil || c.part[name] }

func (c *tableConn) rules(t *Table) error {
	messages, err := c.request(unix.NFT_MSG_GETRULE, netlink.Dump, nameAttribute(unix.NFTA_RULE_TABLE, TableName))
	if err != nil {
		return fmt.Errorf("list rules: %w", err)
	}
	wanted := func(chain string) bool { _, ok := t.Chains[chain]; return ok }
	for _, m := range messages {
		r, err := decodeListedRule(m.Data, wanted)
		if err != nil {
			return fmt.Errorf("decode rule: %w", err)
		}
		if chain, ok := t.Chains[r.chain]; ok {
			chain.Rules = append(chain.Rules, r.rule)
			t.Chains[r.chain] = chain
		}
	}
	return nil
}

// request asks nf_tables and returns the whole answer.
func (c *tableConn) request(kind int, flags netlink.HeaderFlags, attributes ...netlink.Attribute) ([]netlink.Message, error) {
	return c.ask(unix.NFPROTO_INET, kind, flags, attributes...)
}

// ask is request for any family; NFPROTO_UNSPEC is all of them.
func (c *tableConn) ask(family byte, kind int, flags netlink.HeaderFlags, attributes ...netlink.Attribute) ([]netlink.Message, error) {
	data, err := netlink.MarshalAttributes(attributes)
	if err != nil {
		return nil, err
	}
	messages, err := c.nl.Execute(netlink.Message{
		Header: netlink.Header{
			Type:  netlink.HeaderType(unix.NFNL_SUBSYS_NFTABLES<<8 | kind),
			Flags: netlink.Request | flags,
		},
		Data: append([]byte{family, unix.NFNETLINK_V0, 0, 0}, data...),
	})
	if err != nil {
		return nil, err
	}
	for _, m := range messages {
		if m.Header.Flags&unix.NLM_F_DUMP_INTR != 0 {
			return nil, errInterrupted
		}
	}
	return messages, nil
}

func nameAttribute(attribute uint16, value string) netlink.Attribute {
	return netlink.Attribute{Type: attribute, Data: append([]byte(value), 0)}
}

// explainUnsupported adds the remedy to what a kernel says that has no
// nf_tables, or that does not let us.
func explainUnsupported(err error) error {
	switch {
	case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EPROTONOSUPPORT), errors.Is(err, unix.EINVAL):
		return fmt.Errorf("%w: the kernel has no nf_tables; load the module (modprobe nf_tables) "+
			"or use a kernel with CONFIG_NF_TABLES and CONFIG_NF_TABLES_INET", err)
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("%w; run with CAP_NET_ADMIN in the user namespace that owns the network namespace", err)
	}
	return err
}
