package kernel

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

// The tables of iptables-legacy are read as linux/netfilter_ipv4/ip_tables.h and
// ip6_tables.h have them, in the byte order of the machine.
const (
	legacyNameLen     = 32
	legacyTargetLen   = 32 // header of a target; a standard one has its verdict behind
	legacyAccept      = -2 // -NF_ACCEPT - 1
	legacyDrop        = -1 // -NF_DROP - 1
	interfaceNameLen  = 16
	legacyHeaderAlign = 8
)

// legacyLayout is where the fields of an entry are.
type legacyLayout struct {
	addresses    int // bytes, in front of the interface names
	matchLen     int // bytes of all conditions on a packet's header
	targetOffset int // of the field that has the target's offset
	nextOffset   int
	entryLen     int
}

func legacyLayoutOf(f TableFamily) legacyLayout {
	if f == FamilyIPv6 {
		return legacyLayout{addresses: 64, matchLen: 136, targetOffset: 140, nextOffset: 142, entryLen: 168}
	}
	return legacyLayout{addresses: 16, matchLen: 84, targetOffset: 88, nextOffset: 90, entryLen: 112}
}

// legacyChain is where the entries of a built-in chain begin, and the entry that
// holds its policy.
type legacyChain struct {
	entry, underflow uint32
}

var errLegacyTable = errors.New("the table is not as expected")

// legacyEntry is one rule.
type legacyEntry struct {
	conditions []byte
	plain      bool // it has no further matches
	verdict    int32
	standard   bool // the target is a verdict
}

func (l legacyLayout) decode(b []byte) (e legacyEntry, length int, err error) {
	if len(b) < l.entryLen {
		return e, 0, errLegacyTable
	}
	target := int(binary.NativeEndian.Uint16(b[l.targetOffset:]))
	length = int(binary.NativeEndian.Uint16(b[l.nextOffset:]))
	if target < l.entryLen || length < target+legacyTargetLen || length > len(b) || length%legacyHeaderAlign != 0 {
		return e, 0, errLegacyTable
	}
	e.conditions, e.plain = b[:l.matchLen], target == l.entryLen
	header := b[target:length]
	size := int(binary.NativeEndian.Uint16(header))
	if header[2] == 0 && size >= legacyTargetLen+4 && len(header) >= legacyTargetLen+4 { // the standard target has no name
		e.standard, e.verdict = true, int32(binary.NativeEndian.Uint32(header[legacyTargetLen:]))
	}
	return e, length, nil
}

// admits says which packets of pods an entry accepts, "" if it is not one of
// the two rules that do that.
func (l legacyLayout) admits(e legacyEntry) PodSide {
	if !e.plain || !e.standard || e.verdict != legacyAccept {
		return ""
	}
	for n, side := range []PodSide{FromPods, ToPods} {
		want := make([]byte, l.matchLen)
		name := l.addresses + n*interfaceNameLen
		copy(want[name:], PodLinkPrefix+"+") // the mask leaves out the plus
		copy(want[name+2*interfaceNameLen:], bytes.Repeat([]byte{0xff}, len(PodLinkPrefix)))
		if bytes.Equal(e.conditions, want) {
			return side
		}
	}
	return ""
}

// drops says whether a chain drops by its policy without admitting pods.
func (l legacyLayout) drops(entries []byte, chain legacyChain) (bool, error) {
	sides := map[PodSide]bool{}
	for at := int(chain.entry); ; {
		if at < 0 || at > len(entries) || at > int(chain.underflow) {
			return false, errLegacyTable
		}
		e, length, err := l.decode(entries[at:])
		if err != nil {
			return false, fmt.Errorf("entry at %d: %w", at, err)
		}
		if at == int(chain.underflow) {
			return e.standard && e.verdict == legacyDrop && len(sides) < 2, nil
		}
		if side := l.admits(e); side != "" {
			sides[side] = true
		}
		at += length
	}
}
