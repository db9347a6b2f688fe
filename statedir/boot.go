package statedir

import (
	"fmt"
	"strings"
)

// BootID identifies the running boot of the kernel (random(4)). State stamped
// with another id is stale: no namespace, link or route of it exists any more.
func BootID() (string, error) {
	const path = "/proc/sys/kernel/random/boot_id"
	b, err := ReadFile(path, 64)
	if err != nil {
		return "", fmt.Errorf("read boot id: %w; is /proc mounted?", err)
	}
	return strings.TrimSpace(string(b)), nil
}
