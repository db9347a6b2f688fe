package kernel

import (
	"errors"
	"syscall"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// parseAttributes reads the attributes behind the head of a message. The kernel
// fills up each, and the library cannot do without that.
func parseAttributes(b []byte) ([]syscall.NetlinkRouteAttr, error) {
	if len(b)%unix.NLA_ALIGNTO != 0 {
		return nil, errors.New("the kernel's attributes end in the midst of one")
	}
	return nl.ParseRouteAttr(b)
}

// attribute finds the last of a kind.
func attribute(b []byte, kind uint16) (value []byte, found bool) {
	attrs, err := parseAttributes(b)
	if err != nil {
		return nil, false
	}
	for _, a := range attrs {
		if a.Attr.Type == kind {
			value, found = a.Value, true
		}
	}
	return value, found
}
