package kernel

import (
	"bytes"
	"encoding/binary"
	"strings"

	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Interface names as the kernel compares them: a name without its closing zero
// byte matches as a prefix.
func podLinkPattern() []byte { return []byte(PodLinkPrefix) }

// admissionRule returns the expressions of a rule that admits pods, the very
// ones that iptables-nft makes of -i rwp+ -j ACCEPT and -o rwp+ -j ACCEPT: in
// its tables it refuses to work with anything that it would not have written.
func admissionRule(side PodSide) []expr.Any {
	key := expr.MetaKeyIIFNAME
	if side == ToPods {
		key = expr.MetaKeyOIFNAME
	}
	return []expr.Any{
		&expr.Meta{Key: key, Register: register},
		&expr.Cmp{Op: expr.CmpOpEq, Register: register, Data: podLinkPattern()},
		&expr.Counter{},
		&expr.Verdict{Kind: expr.VerdictAccept},
	}
}

// ownSide says whether a rule is one of ours, by its content alone.
func ownSide(raw []rawExpr) PodSide {
	if len(raw) != 4 {
		return ""
	}
	meta, ok := raw[0].decode().(*expr.Meta)
	if !ok || meta.SourceRegister {
		return ""
	}
	cmp, ok := raw[1].decode().(*expr.Cmp)
	if !ok || cmp.Op != expr.CmpOpEq || cmp.Register != meta.Register || !bytes.Equal(cmp.Data, podLinkPattern()) {
		return ""
	}
	verdict, ok := raw[3].decode().(*expr.Verdict)
	if !ok || verdict.Kind != expr.VerdictAccept || raw[2].name != "counter" {
		return ""
	}
	switch meta.Key {
	case expr.MetaKeyIIFNAME:
		return FromPods
	case expr.MetaKeyOIFNAME:
		return ToPods
	}
	return ""
}

// decodeForeignRule reads what matters of a listed rule.
func decodeForeignRule(message []byte, elements func(set string) [][]byte) (r foreignRule, err error) {
	var raw []rawExpr
	commented := false
	err = decodeAttributes(message, func(ad *netlink.AttributeDecoder) error {
		switch ad.Type() {
		case unix.NFTA_RULE_HANDLE:
			r.handle = ad.Uint64()
		case unix.NFTA_RULE_USERDATA:
			commented = true
		case unix.NFTA_RULE_EXPRESSIONS:
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
	if err != nil {
		return r, err
	}
	if !commented {
		r.own = ownSide(raw)
	}
	r.idle = true
	for _, e := range raw {
		r.interpret(e)
	}
	r.narrows = narrow(raw, elements)
	return r, nil
}

// interpret adds one expression to what is known of the rule. What is unknown
// counts as a condition: it may let the packet pass by.
func (r *foreignRule) interpret(e rawExpr) {
	switch e.name {
	case "counter":
	case "log":
		r.logs = true
	case "limit", "quota": // how often a rule applies; whether it does anything the others tell
		r.conditional = true
	case "immediate":
		r.verdict, r.target = decodeAnyVerdict(e.data)
		r.idle = false
	case "reject":
		r.verdict, r.idle = dropVerdict, false
	case "queue":
		r.verdict, r.idle = otherVerdict, false
	case "match":
		if name := extension(e.data); name != "comment" {
			r.conditional = true
		}
	case "target":
		r.extensionTarget(extension(e.data))
	case "meta", "cmp", "payload", "ct", "bitwise", "range", "lookup", "fib", "byteorder", "rt", "socket", "osf", "hash", "numgen":
		// A match, or a value for one, unless it writes to the packet; a map
		// of verdicts may decide.
		r.conditional = true
		if e.name == "lookup" || writes(e) {
			r.idle = false
		}
	default:
		r.conditional, r.idle = true, false
	}
}

// extensionTarget interprets a target of iptables that nftables has no
// expression for.
func (r *foreignRule) extensionTarget(name string) {
	switch name {
	case "LOG", "NFLOG":
		r.logs = true
	case "REJECT", "DROP":
		r.verdict, r.idle = dropVerdict, false
	case "NFQUEUE":
		r.verdict, r.idle = otherVerdict, false
	default: // changes the packet, and lets it go on
		r.idle = false
	}
}

// writes says whether an expression has a source register: it sets a mark or
// changes the packet.
func writes(e rawExpr) bool {
	source, ok := map[string]uint16{
		"meta": unix.NFTA_META_SREG, "ct": unix.NFTA_CT_SREG, "payload": unix.NFTA_PAYLOAD_SREG,
	}[e.name]
	if !ok {
		return false
	}
	ad, err := netlink.NewAttributeDecoder(e.data)
	if err != nil {
		return true
	}
	for ad.Next() {
		if ad.Type() == source {
			return true
		}
	}
	return ad.Err() != nil
}

// extension returns the name of an iptables match or target, which is
// attribute 1 of both.
func extension(data []byte) string {
	const nameAttribute = 1
	ad, err := netlink.NewAttributeDecoder(data)
	if err != nil {
		return ""
	}
	for ad.Next() {
		if ad.Type() == nameAttribute {
			return strings.TrimRight(ad.String(), "\x00")
		}
	}
	return ""
}

// decodeAnyVerdict reads the verdict that an immediate expression sets;
// noVerdict if it sets something else.
func decodeAnyVerdict(data []byte) (v verdict, target string) {
	ad, err := netlink.NewAttributeDecoder(data)
	if err != nil {
		return noVerdict, ""
	}
	ad.ByteOrder = binary.BigEndian
	err = eachAttribute(func(ad *netlink.AttributeDecoder) error {
		if ad.Type() != unix.NFTA_IMMEDIATE_DATA {
			return nil
		}
		ad.Nested(eachAttribute(func(ad *netlink.AttributeDecoder) error {
			if ad.Type() != unix.NFTA_DATA_VERDICT {
				return nil
			}
			ad.Nested(eachAttribute(func(ad *netlink.AttributeDecoder) error {
				switch ad.Type() {
				case unix.NFTA_VERDICT_CODE:
					v = verdictOf(ad.Int32())
				case unix.NFTA_VERDICT_CHAIN:
					target = ad.String()
				}
				return nil
			}))
			return nil
		}))
		return nil
	})(ad)
	if err != nil {
		return otherVerdict, ""
	}
	return v, target
}

func verdictOf(code int32) verdict {
	switch expr.VerdictKind(code) {
	case expr.VerdictDrop:
		return dropVerdict
	case expr.VerdictAccept:
		return acceptVerdict
	case expr.VerdictReturn:
		return returnVerdict
	case expr.VerdictJump:
		return jumpVerdict
	case expr.VerdictGoto:
		return gotoVerdict
	case expr.VerdictContinue, expr.VerdictBreak:
		return noVerdict
	}
	return otherVerdict
}

// decodeKeys reads the keys of one message of a set's elements, the ends of
// intervals included.
func decodeKeys(message []byte) (keys [][]byte, err error) {
	err = decodeAttributes(message, func(ad *netlink.AttributeDecoder) error {
		if ad.Type() != unix.NFTA_SET_ELEM_LIST_ELEMENTS {
			return nil
		}
		ad.Nested(eachAttribute(func(ad *netlink.AttributeDecoder) error {
			ad.Nested(eachAttribute(func(ad *netlink.AttributeDecoder) error {
				if ad.Type() == unix.NFTA_SET_ELEM_KEY {
					ad.Nested(eachAttribute(func(ad *netlink.AttributeDecoder) error {
						keys = append(keys, ad.Bytes())
						return nil
					}))
				}
				return nil
			}))
			return nil
		}))
		return nil
	})
	return keys, err
}
