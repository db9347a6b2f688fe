package topology

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/ropeway-net/ropeway/kernel"
)

// ChecksumOffload says what to do about packets whose checksums are left to the
// network card, which some cards get wrong inside of a VXLAN packet.
type ChecksumOffload string

// The settings. The empty one is auto.
const (
	OffloadAuto ChecksumOffload = "auto" // off where the card is known to get it wrong
	OffloadOn   ChecksumOffload = "on"
	OffloadOff  ChecksumOffload = "off"
)

// ChecksumOffloads lists the settings.
func ChecksumOffloads() []ChecksumOffload {
	return []ChecksumOffload{OffloadAuto, OffloadOn, OffloadOff}
}

// UnmarshalJSON also takes what YAML makes of on and off without quotes.
func (o *ChecksumOffload) UnmarshalJSON(b []byte) error {
	switch string(b) {
	case "true":
		*o = OffloadOn
		return nil
	case "false":
		*o = OffloadOff
		return nil
	}
	return json.Unmarshal(b, (*string)(o))
}

// brokenChecksums lists the drivers that are known to send VXLAN packets with
// wrong inner checksums, so that all but ICMP is lost. vmxnet3 does since it has
// tunnel offload: the hypervisor completes them for certain ports only
// (projectcalico/calico 4727, 7040, 9433).
func brokenChecksums() []string { return []string{"vmxnet3"} }

// decideChecksums switches the VXLAN device's offload as configured or, where
// that is left to us, off over a card that gets it wrong.
func (t tunnels) decideChecksums(setting ChecksumOffload, primary kernel.Interface) []Obstacle {
	broken := slices.IndexFunc(brokenChecksums(), func(driver string) bool {
		return slices.Contains(strings.Split(primary.Drivers, ","), driver)
	})
	want := kernel.Offload("")
	switch {
	case setting == OffloadOn:
		want = kernel.OffloadOn
	case setting == OffloadOff, broken >= 0:
		want = kernel.OffloadOff
	}
	var out []Obstacle
	for f, tun := range t {
		if tun.link.Kind != kernel.VXLAN {
			continue
		}
		tun.link.TxChecksum = want
		t[f] = tun
		if setting != OffloadOn && setting != OffloadOff && broken >= 0 && len(out) == 0 {
			out = append(out, Obstacle{Kind: WrongChecksums, Overcome: true, Message: fmt.Sprintf(
				"driver %s of %s gets checksums inside of VXLAN packets wrong, so checksum offload is off on %s; vxlan.checksumOffload: on keeps it",
				brokenChecksums()[broken], primary.Name, tun.link.Name)})
		}
	}
	return out
}
