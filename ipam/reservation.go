package ipam

import (
	"bytes"
	"net/netip"
	"strings"
	"unicode"

	"github.com/ropeway-net/ropeway/statedir"
)

// Attachment is a container's interface.
type Attachment struct {
	ContainerID string
	// IfName is empty in reservations that old versions of host-local wrote.
	IfName string
}

// Reservation is an address and who holds it.
type Reservation struct {
	Address netip.Addr
	Attachment
}

// maxReservation is more than a container ID and an interface name take.
const maxReservation = 4096

// content is what host-local writes for the same attachment.
func (a Attachment) content() []byte {
	return []byte(a.ContainerID + "\r\n" + a.IfName)
}

// validate holds the attachment to what can be read back from a file.
func (a Attachment) validate() error {
	if back, ok := parseReservation(a.content()); !ok || back != a || a.IfName == "" {
		return errorf(ErrEnvironment, "CNI_CONTAINERID %q with CNI_IFNAME %q names no attachment; the specification allows letters, digits, '_', '.' and '-' in the first, and 15 bytes in the second", a.ContainerID, a.IfName)
	}
	return nil
}

// parseReservation reads the content of a reservation. It is false for a file
// that a crash left empty or torn: one that names no container.
func parseReservation(b []byte) (Attachment, bool) {
	id, ifName, _ := bytes.Cut(b, []byte("\n"))
	a := Attachment{string(bytes.TrimSpace(id)), string(bytes.TrimSpace(ifName))}
	if len(b) > maxReservation || !statedir.IsName(a.ContainerID) || !validIfName(a.IfName) {
		return Attachment{}, false
	}
	return a, true
}

func validIfName(name string) bool {
	return len(name) <= 15 && name != "." && name != ".." &&
		!strings.ContainsFunc(name, func(r rune) bool {
			return r == '/' || r == ':' || r == unicode.ReplacementChar || !unicode.IsPrint(r) || unicode.IsSpace(r)
		})
}

// parseAddressName reads the name of a reservation's file. Other files of the
// directory, and spellings that no allocator writes, are not addresses.
func parseAddressName(name string) (netip.Addr, bool) {
	a, err := netip.ParseAddr(name)
	if err != nil || a.Zone() != "" || a.String() != name {
		return netip.Addr{}, false
	}
	return a, true
}
