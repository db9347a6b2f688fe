package kernel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// The kernel's lists are decoded here and not by google/nftables v0.3.0,
// whose readers
//   - leave out expressions of a rule that they do not know,
//   - fail on a table that holds one set of a type they do not know, so that
//     such a table could never be repaired,
//   - do not see a set element that matches everything (*),
//   - panic on user data that is cut short,
//   - lose the errno (they wrap with %v),
//   - do not look at the mark of an interrupted dump.
const (
	// In linux/netfilter/nf_tables.h, not in package unix.
	chainFlagBinding = 4 // chain belongs to one rule and goes with it
	chainFlagsAttr   = 10

	keyTypeIPv4, keyTypeIPv6 = 7, 8 // nft's numbers for its datatypes
)

// nfgenmsgLen is the length of the header of every nfnetlink message.
const nfgenmsgLen = 4

// decodeAttributes calls visit for each attribute of a message.
func decodeAttributes(message []byte, visit func(*netlink.AttributeDecoder) error) error {
	if len(message) < nfgenmsgLen {
		return errors.New("message is cut short")
	}
	ad, err := netlink.NewAttributeDecoder(message[nfgenmsgLen:])
	if err != nil {
		return err
	}
	ad.ByteOrder = binary.BigEndian
	return eachAttribute(visit)(ad)
}

// eachAttribute makes of visit what AttributeDecoder.Nested wants.
func eachAttribute(visit func(*netlink.AttributeDecoder) error) func(*netlink.AttributeDecoder) error {
	return func(ad *netlink.AttributeDecoder) error {
		for ad.Next() {
			if err := visit(ad); err != nil {
				return err
			}
		}
		return ad.Err()
	}
}

// decodeGeneration reads the number of the ruleset's generation.
func decodeGeneration(message []byte) (generation uint32, err error) {
	err = decodeAttributes(message, func(ad *netlink.AttributeDecoder) error {
		if ad.Type() == unix.NFTA_GEN_ID {
			generation = ad.Uint32()
		}
		return nil
	})
	return generation, err
}

// decodeTableFlags reads a table's flags as nft writes them.
func decodeTableFlags(message []byte) (string, error) {
	var flags uint32
	err := decodeAttributes(message, func(ad *netlink.AttributeDecoder) error {
		if ad.Type() == unix.NFTA_TABLE_FLAGS {
			flags = ad.Uint32()
		}
		return nil
	})
	var words []string
	for i, word := range []string{"dormant", "owner", "persist"} {
		if flags&(1<<i) != 0 {
			words = append(words, word)
		}
	}
	return strings.Join(words, ","), err
}

// listedChain is a chain of any table.
type listedChain struct {
	table, name string
	bound       bool // belongs to one rule
	chain       Chain
}

func decodeChain(message []byte) (c listedChain, err error) {
	err = decodeAttributes(message, func(ad *netlink.AttributeDecoder) error {
		switch ad.Type() {
		case unix.NFTA_CHAIN_TABLE:
			c.table = ad.String()
		case unix.NFTA_CHAIN_NAME:
			c.name = ad.String()
		case unix.NFTA_CHAIN_TYPE:
			c.chain.Type = ChainType(ad.String())
		case unix.NFTA_CHAIN_POLICY:
			if ad.Uint32() == 0 { // NF_DROP
				c.chain.Policy = PolicyDrop
			}
		case unix.NFTA_CHAIN_HOOK:
			ad.Nested(eachAttribute(func(ad *netlink.AttributeDecoder) error {
				switch ad.Type() {
				case unix.NFTA_HOOK_HOOKNUM:
					c.chain.Hook = decodeHook(ad.Uint32())
				case unix.NFTA_HOOK_PRIORITY:
					c.chain.Priority = int(ad.Int32())
				}
				return nil
			}))
		case chainFlagsAttr:
			c.bound = ad.Uint32()&chainFlagBinding != 0
		}
		return nil
	})
	return c, err
}

// inputHook is a hook that no chain of ours uses.
const inputHook Hook = "input"

// hooks returns the hooks in the kernel's order.
func hooks() []Hook { return []Hook{Prerouting, inputHook, Forward, Output, Postrouting} }

func decodeHook(number uint32) Hook {
	if all := hooks(); int(number) < len(all) {
		return all[number]
	}
	return Hook(fmt.Sprint(number))
}

// listedSet is a set without its elements.
type listedSet struct {
	name      string
	anonymous bool // belongs to one rule
	set       Set
	mapType   MapType // "" for a set, and for a map of somebody else's
}

func decodeSet(message []byte) (s listedSet, err error) {
	var flags, keyType, keyLen, dataType, dataLen, size uint32
	err = decodeAttributes(message, func(ad *netlink.AttributeDecoder) error {
		switch ad.Type() {
		case unix.NFTA_SET_NAME:
			s.name = ad.String()
		case unix.NFTA_SET_FLAGS:
			flags = ad.Uint32()
		case unix.NFTA_SET_KEY_TYPE:
			keyType = ad.Uint32()
		case unix.NFTA_SET_KEY_LEN:
			keyLen = ad.Uint32()
		case unix.NFTA_SET_DATA_TYPE:
			dataType = ad.Uint32()
		case unix.NFTA_SET_DATA_LEN:
			dataLen = ad.Uint32()
		case unix.NFTA_SET_DESC:
			ad.Nested(eachAttribute(func(ad *netlink.AttributeDecoder) error {
				if ad.Type() == unix.NFTA_SET_DESC_SIZE {
					size = ad.Uint32()
				}
				return nil
			}))
		}
		return nil
	})
	s.anonymous = flags&unix.NFT_SET_ANONYMOUS != 0
	s.set.Interval = flags&unix.NFT_SET_INTERVAL != 0
	switch other := flags &^ unix.NFT_SET_INTERVAL; {
	case other == 0 && size == 0 && keyType == keyTypeIPv4 && keyLen == ipv4AddrLen:
		s.set.Type = IPv4Addr
	case other == 0 && size == 0 && keyType == keyTypeIPv6 && keyLen == ipv6AddrLen:
		s.set.Type = IPv6Addr
	case flags == 0 && size == 0 && keyType == concatType(keyTypeIPv4, keyTypeIPv4) && keyLen == 2*ipv4AddrLen:
		s.set.Type = IPv4Pair
	case flags == 0 && size == 0 && keyType == concatType(keyTypeIPv6, keyTypeIPv6) && keyLen == 2*ipv6AddrLen:
		s.set.Type = IPv6Pair
	case flags == unix.NFT_SET_MAP && size == 0:
		s.mapType, _ = mapTypeOf(keyType, keyLen, dataType, dataLen)
		fallthrough
	default:
		s.set.Type = SetType(fmt.Sprintf("%d (flags %#x, size %d)", keyType, flags, size))
	}
	return s, err
}

// listedElement is an element of a set or map. One that matches everything has
// no key; one of a set has no data, nor has one whose data is a verdict.
type listedElement struct {
	key, data []byte
	end       bool // of an interval
}

// decodeElementList reads one message of a set's or map's elements.
func decodeElementList(message []byte) (elements []listedElement, err error) {
	err = decodeAttributes(message, func(ad *netlink.AttributeDecoder) error {
		if ad.Type() != unix.NFTA_SET_ELEM_LIST_ELEMENTS {
			return nil
		}
		ad.Nested(eachAttribute(func(ad *netlink.AttributeDecoder) error {
			ad.Nested(func(ad *netlink.AttributeDecoder) error {
				e, broken := decodeElement(ad)
				elements = append(elements, e)
				return broken
			})
			return nil
		}))
		return nil
	})
	return elements, err
}

func decodeElement(ad *netlink.AttributeDecoder) (e listedElement, err error) {
	err = eachAttribute(func(ad *netlink.AttributeDecoder) error {
		switch ad.Type() {
		case unix.NFTA_SET_ELEM_FLAGS:
			flags := ad.Uint32()
			e.end = flags&unix.NFT_SET_ELEM_INTERVAL_END != 0
		case unix.NFTA_SET_ELEM_KEY:
			ad.Nested(decodeValue(&e.key))
		case unix.NFTA_SET_ELEM_DATA:
			ad.Nested(decodeValue(&e.data))
		}
		return nil
	})(ad)
	return e, err
}

// decodeValue reads data that is a plain value.
func decodeValue(value *[]byte) func(*netlink.AttributeDecoder) error {
	return eachAttribute(func(ad *netlink.AttributeDecoder) error {
		if ad.Type() == unix.NFTA_DATA_VALUE {
			*value = ad.Bytes()
		}
		return nil
	})
}

// listedRule is a rule with the name of its chain.
type listedRule struct {
	chain string
	rule  Rule
}

// decodeListedRule reads no more than the chain of a rule of chains that are not
// wanted; most of what a table is read for is in few of them.
func decodeListedRule(message []byte, wanted func(chain string) bool) (r listedRule, err error) {
	var raw []rawExpr
	err = decodeAttributes(message, func(ad *netlink.AttributeDecoder) error {
		switch ad.Type() {
		case unix.NFTA_RULE_CHAIN: // in front of the others
			r.chain = ad.String()
		case unix.NFTA_RULE_USERDATA:
			r.rule.Comment = decodeComment(ad.Bytes())
		case unix.NFTA_RULE_EXPRESSIONS:
			if !wanted(r.chain) {
				return nil
			}
			ad.Nested(eachAttribute(func(ad *netlink.AttributeDecoder) error {
				ad.Nested(func(ad *netlink.AttributeDecoder) error {
					e, broken := decodeRawExpr(ad)
					raw = append(raw, e)
					return broken
				})
				return nil
			}))
		}
		return nil
	})
	r.rule.Statements = decodeRule(raw)
	return r, err
}

func decodeRawExpr(ad *netlink.AttributeDecoder) (e rawExpr, err error) {
	err = eachAttribute(func(ad *netlink.AttributeDecoder) error {
		switch ad.Type() {
		case unix.NFTA_EXPR_NAME:
			e.name = ad.String()
		case unix.NFTA_EXPR_DATA:
			e.data = ad.Bytes()
		}
		return nil
	})(ad)
	return e, err
}

// decodeComment finds the comment in a rule's user data, which is a list of
// type (0 is comment), length and value, one byte each of the first two.
func decodeComment(data []byte) string {
	for len(data) >= 2 && len(data) >= 2+int(data[1]) {
		typ, value := data[0], data[2:2+int(data[1])]
		if typ == 0 {
			return strings.TrimRight(string(value), "\x00")
		}
		data = data[2+len(value):]
	}
	return ""
}

func anyChain(string) bool { return true }
