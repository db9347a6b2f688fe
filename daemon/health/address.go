package health

import (
	"fmt"
	"net/netip"
)

// CheckAddress returns what is wrong with a listening address. A name or an
// empty host is refused: it should be seen on which addresses the daemon
// listens. Empty means that it does not.
func CheckAddress(address string) error {
	if address == "" {
		return nil
	}
	if a, err := netip.ParseAddrPort(address); err != nil || a.Port() == 0 {
		return fmt.Errorf("healthAddress %q is no address and port; write for instance 127.0.0.1:9114 or [::1]:9114, or \"\" for none", address)
	}
	return nil
}
