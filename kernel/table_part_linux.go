package kernel

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// partAttempts bounds how often a part of the table is changed anew because
// somebody changed it between reading and writing.
const partAttempts = 10

// TablePart is a set of names: those of some sets, maps and chains.
type TablePart map[string]bool

// PartOf names everything that t holds.
func PartOf(t *Table) TablePart {
	part := TablePart{}
	for _, names := range [][]string{sortedKeys(t.Sets), sortedKeys(t.Maps), sortedKeys(t.Chains)} {
		for _, name := range names {
			part[name] = true
		}
	}
	return part
}

// ReadTable reads the part of the table in the caller's namespace, nil if
// there is no table.
func ReadTable(ctx context.Context, part TablePart) (*Table, error) {
	return snapshotPart(ctx, netns.None(), maps.Clone(part))
}

// UpdateTable makes of the part of the table in the caller's namespace what
// change makes of it, in one transaction, and leaves the rest alone. change
// gets nil when there is no table, and may return nil to leave things as they
// are. It is called again when somebody else changed the part meanwhile.
func UpdateTable(ctx context.Context, part TablePart, change func(actual *Table) *Table) error {
	return updateTable(ctx, netns.None(), part, change)
}

func updateTable(ctx context.Context, ns netns.NsHandle, part TablePart, change func(actual *Table) *Table) error {
	var err error
	for range partAttempts {
		var actual *Table
		if actual, err = snapshotPart(ctx, ns, maps.Clone(part)); err != nil {
			return err
		}
		desired := change(actual.clone())
		if desired == nil {
			return nil
		}
		if actual != nil {
			desired.Flags = actual.Flags // of the whole table, which is not ours to replace
		}
		op, differs := diffTable(actual, desired).(TableChange)
		if !differs {
			return nil
		}
		if err = applyTable(ctx, ns, op); err == nil {
			return nil
		}
		if !raced(err) {
			break
		}
	}
	return fmt.Errorf("change nftables table inet %s: %w", TableName, err)
}

// AddElements adds to the sets and maps of the table in the caller's namespace what
// add puts into t, a copy of structure, provided that its sets, maps, chains and
// rules are there as they should be. Otherwise it changes nothing and is false,
// as it is when an element is there and says something else: then [UpdateTable] must
// look at all. It asks for no element, of which there may be many.
func AddElements(ctx context.Context, structure *Table, add func(t *Table)) (bool, error) {
	return addElements(ctx, netns.None(), structure, add)
}

func addElements(ctx context.Context, ns netns.NsHandle, structure *Table, add func(t *Table)) (bool, error) {
	actual, desired := structure.withoutElements(), structure.clone()
	add(desired)
	change, differs := diffTable(actual, desired).(TableChange)
	if !differs {
		return true, nil
	}
	c, err := openTableConn(ctx, ns, sendBuffer+change.size())
	if err != nil {
		return false, fmt.Errorf("read nftables table inet %s: %w", TableName, err)
	}
	defer c.close()
	c.part, c.empty = PartOf(structure), true
	found, err := c.settled(ctx)
	if err != nil {
		return false, err
	}
	if found == nil || found.Flags != "" || diffTable(found, actual) != nil {
		return false, nil
	}
	err = c.send(change)
	if err != nil && ctx.Err() != nil {
		err = ctx.Err()
	}
	if raced(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("add elements to nftables table inet %s: %w", TableName, err)
	}
	return true, nil
}

// raced says whether a transaction may have failed because it was made for
// another state of the table.
func raced(err error) bool {
	return slices.ContainsFunc([]error{unix.ENOENT, unix.EEXIST, unix.EBUSY}, func(e error) bool { return errors.Is(err, e) })
}
