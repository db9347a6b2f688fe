package kernel

import (
	"slices"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// concerns says whether an nftables message is about Ropeway's table, or about
// a chain of somebody else's that has a say about pods' packets. The message
// that ends a transaction says nothing.
func (m *firewallMemory) concerns(notification netlink.Message) bool {
	b := notification.Data
	kind := int(notification.Header.Type & 0xff)
	if kind == unix.NFT_MSG_NEWGEN || len(b) < nfgenmsgLen {
		return false
	}
	table, name, hooked, ok := decodeSubject(kind, b)
	family, foreign := tableFamilies()[b[0]]
	switch {
	case !ok:
		return true
	case table == TableName:
		return true
	case !foreign:
		return false
	case kind == unix.NFT_MSG_NEWCHAIN && hooked:
		return true
	case kind == unix.NFT_MSG_NEWTABLE:
		return m.isWatchedTable(family, table) // its flags changed
	}
	return m.isWatched(ForeignChain{family, table, name})
}

// isWatchedTable says whether any chain of a table has a part in what was last
// read.
func (m *firewallMemory) isWatchedTable(family TableFamily, table string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, set := range []map[ForeignChain]bool{m.watched, m.fresh} {
		for c := range set {
			if c.Family == family && c.Table == table {
				return true
			}
		}
	}
	return false
}

// decodeSubject reads the table that a notification is about, which is the
// first attribute type of all kinds, and the chain, if it is about one or a
// rule in one; hooked says that this is a base chain that pods' packets or
// those of tunnels come to.
func decodeSubject(kind int, b []byte) (table, chain string, hooked, ok bool) {
	const tableAttribute = 1
	chainAttribute := map[int]uint16{
		unix.NFT_MSG_NEWCHAIN: unix.NFTA_CHAIN_NAME, unix.NFT_MSG_DELCHAIN: unix.NFTA_CHAIN_NAME,
		unix.NFT_MSG_NEWRULE: unix.NFTA_RULE_CHAIN, unix.NFT_MSG_DELRULE: unix.NFTA_RULE_CHAIN,
	}[kind]
	err := decodeAttributes(b, func(ad *netlink.AttributeDecoder) error {
		switch ad.Type() {
		case tableAttribute:
			table = ad.String()
		case chainAttribute:
			chain = ad.String()
		}
		return nil
	})
	if kind == unix.NFT_MSG_NEWCHAIN && err == nil {
		listed, decodeErr := decodeChain(b)
		hooked = decodeErr == nil && listed.chain.Type == FilterChain && slices.Contains([]Hook{Forward, Input}, listed.chain.Hook)
	}
	return table, chain, hooked, err == nil && table != ""
}
