package kernel

import (
	"errors"
	"fmt"
)

// OpError is the failure of one operation of a plan. Apply joins them.
type OpError struct {
	Op     Op
	Err    error  // cause
	Remedy string // what to do about it, one clause; may be empty
}

func (e *OpError) Error() string {
	s := describe(e.Op) + ": " + e.Err.Error()
	if e.Remedy != "" {
		s += "; " + e.Remedy
	}
	return s
}

func (e *OpError) Unwrap() error { return e.Err }

// errLinkMissing means that an operation names a link that does not exist.
var errLinkMissing = errors.New("the link does not exist")

// describe names what an operation does, and to which object.
func describe(op Op) string {
	switch op := op.(type) {
	case SysctlSet:
		return fmt.Sprintf("set sysctl %s to %s", op.Key, op.Value)
	case LinkAdd:
		return "add link " + op.Link.Name
	case LinkSet:
		return "change link " + op.Name
	case LinkDel:
		return "delete link " + op.Name
	case AddressAdd:
		return fmt.Sprintf("add address %s to %s", op.Address.Prefix, op.Address.Link)
	case AddressDel:
		return fmt.Sprintf("delete address %s from %s", op.Address.Prefix, op.Address.Link)
	case RouteAdd:
		return "add route to " + op.Dst.String()
	case RouteReplace:
		return "replace route to " + op.Dst.String()
	case RouteDel:
		return "delete route to " + op.Dst.String()
	case NeighbourReplace:
		return fmt.Sprintf("set neighbour %s on %s", op.IP, op.Link)
	case NeighbourDel:
		return fmt.Sprintf("delete neighbour %s from %s", op.IP, op.Link)
	case FDBReplace:
		return fmt.Sprintf("set forwarding entry of %s on %s", op.MAC, op.Link)
	case FDBDel:
		return fmt.Sprintf("delete forwarding entry of %s from %s", op.MAC, op.Link)
	case ShaperAdd:
		return fmt.Sprintf("limit the rate %s on %s", op.Direction, op.Link)
	case ShaperSet:
		return fmt.Sprintf("change the limit of the rate %s on %s", op.Direction, op.Link)
	case ShaperDel:
		return fmt.Sprintf("delete the limit of the rate %s on %s", op.Direction, op.Link)
	case TableChange:
		return "change nftables table inet " + TableName
	case AdmissionAdd:
		return "admit pods in chain " + op.Chain.String()
	case AdmissionDel:
		return "delete a rule from chain " + op.Chain.String()
	}
	return op.String()
}

// opLink returns the link that an operation cannot do without, if any. It
// does not tell of operations that make, change or delete the link.
func opLink(op Op) string {
	switch op := op.(type) {
	case SysctlSet:
		switch link := sysctlInterface(op.Key); link {
		case "all", "default":
			return ""
		default:
			return link
		}
	case AddressAdd:
		return op.Address.Link
	case AddressDel:
		return op.Address.Link
	case RouteAdd:
		return op.Link
	case RouteReplace:
		return op.Link
	case NeighbourReplace:
		return op.Link
	case NeighbourDel:
		return op.Link
	case FDBReplace:
		return op.Link
	case FDBDel:
		return op.Link
	case ShaperAdd:
		return op.Link
	case ShaperSet:
		return op.Link
	}
	return ""
}

// podLinkGone says whether an operation failed only because its pod link
// vanished meanwhile, which is no failure: whoever deletes a pod wants that.
func podLinkGone(op Op, err error) bool {
	return isPodLink(opLink(op)) && errors.Is(err, errLinkMissing)
}
