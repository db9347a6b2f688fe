//go:build kube

package scenarios

import (
	"net/netip"
	"time"

	"github.com/ropeway-net/ropeway/integration/kube"
	"github.com/ropeway-net/ropeway/integration/lab"
)

// stream sends a numbered packet every few milliseconds from one pod to an
// address of another.
func (w world) stream(from, to kube.PodInfo, address netip.Addr) (stop func()) {
	w.Helper()
	sender, err := w.c.Node(from.Node).PodNamespace(from.Namespace, from.Name)
	w.must(err)
	w.Cleanup(sender.Release)
	receiver, err := w.c.Node(to.Node).PodNamespace(to.Namespace, to.Name)
	w.must(err)
	w.Cleanup(receiver.Release)
	s, err := lab.StartStream(w.Context(), sender, receiver, address, 5*time.Millisecond)
	w.must(err)
	ended := false
	w.Cleanup(func() {
		if !ended {
			s.Stop()
		}
	})
	return func() {
		w.Helper()
		ended = true
		if stats := s.Stop(); !stats.Clean() {
			w.Errorf("%s to %s (%s): %s", from.Name, to.Name, address, stats)
		}
	}
}
