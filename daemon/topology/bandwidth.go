package topology

import (
	"maps"

	"github.com/ropeway-net/ropeway/bandwidth"
	"github.com/ropeway-net/ropeway/kernel"
)

// addShapers limits what attached pods send and receive.
func addShapers(s *kernel.State, in Input) {
	for _, r := range in.Endpoints {
		if in.PodLinks[r.HostLink] == kernel.AdminUp && r.BootID == in.BootID {
			maps.Copy(s.Shapers, bandwidth.Shapers(r.Bandwidth, r.HostLink, r.MTU))
		}
	}
}
