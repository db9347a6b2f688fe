// Package bandwidth decides how the limits that a runtime passes become shapers
// of a pod link. Plugin and daemon compute the same from the endpoint record,
// so that either may be alone. It does no I/O.
package bandwidth

import (
	"fmt"
	"math"

	"github.com/ropeway-net/ropeway/kernel"
)

// Limit is that of one direction. The zero Limit is none.
type Limit struct {
	Rate  uint64 `json:"rate"`  // bits per second
	Burst uint64 `json:"burst"` // bits that may pass at once
}

// Limits are those of an attachment, as its pod sees the directions: Ingress
// is what it receives.
type Limits struct {
	Ingress Limit `json:"ingress,omitzero"`
	Egress  Limit `json:"egress,omitzero"`
}

const (
	// MaxRate is what Kubernetes accepts at most in its annotations.
	MaxRate = 1e15 // bits per second
	// MaxBurst is what fits the kernel's 32 bits of bytes.
	MaxBurst = math.MaxUint32*8 - 1 // bits
)

// Validate says what keeps the limit from being one. The error begins with the
// name of what is wrong, Rate or Burst.
func (l Limit) Validate() error {
	switch {
	case l == Limit{}:
		return nil
	case l.Rate == 0:
		return &Error{"Rate", l.Rate, "there is a burst without a rate; give both, or none for no limit"}
	case l.Burst == 0:
		return &Error{"Burst", l.Burst, "there is a rate without a burst; give both, or none for no limit"}
	case l.Rate > MaxRate:
		return &Error{"Rate", l.Rate, fmt.Sprintf("the rate is above %d bit/s, the most that is possible", uint64(MaxRate))}
	case l.Burst > MaxBurst:
		return &Error{"Burst", l.Burst, fmt.Sprintf("the burst is above %d bits, the most that is possible", uint64(MaxBurst))}
	}
	return nil
}

// Validate checks both directions.
func (l Limits) Validate() error {
	if err := l.Ingress.Validate(); err != nil {
		return fmt.Errorf("ingress%w", err)
	}
	if err := l.Egress.Validate(); err != nil {
		return fmt.Errorf("egress%w", err)
	}
	return nil
}

// Error is a value that cannot be.
type Error struct {
	Key    string // Rate or Burst
	Value  uint64
	Reason string
}

func (e *Error) Error() string { return fmt.Sprintf("%s: %d: %s", e.Key, e.Value, e.Reason) }

// noBurst are the bursts that runtimes pass because a pod's annotation has
// none and the capability must have one: containerd, CRI-O, kubelet's own
// plugins of old. Taken at their word they would let half a gigabyte pass
// before a limit of 10 Mbit/s begins.
func noBurst(bits uint64) bool {
	return bits == math.MaxUint32 || bits == MaxBurst || bits == math.MaxInt32
}

const (
	etherHeader = 18    // bytes, with a VLAN tag
	wholeGSO    = 65536 // bytes that the kernel hands through as one packet
	leastFrames = 10    // what TCP sends at once, RFC 6928
)

// shaper translates a limit. A token bucket with a burst smaller than one frame
// lets nothing pass, and one smaller than a millisecond's worth does not reach
// its rate. What waits is 25 ms' worth, whatever the burst is.
func (l Limit) shaper(mtu int) kernel.Shaper {
	rate := max(l.Rate/8, 1)
	frame := uint64(mtu + etherHeader)
	burst := l.Burst / 8
	if noBurst(l.Burst) {
		burst = rate / 200 // 5 ms
	}
	burst = max(burst, frame, rate/1000)
	queue := max(rate/40, leastFrames*frame)
	if burst >= wholeGSO {
		queue = max(queue, 2*wholeGSO) // such packets are not cut, so the queue must hold one
	}
	return kernel.Shaper{Rate: rate, Burst: uint32(min(burst, math.MaxUint32)), Queue: uint32(min(queue, math.MaxUint32))}
}

// Shapers are what the limits of a pod need on the host end of its link; mtu is
// the link's. Without limits they are none.
func Shapers(l Limits, hostLink string, mtu int) map[kernel.ShaperKey]kernel.Shaper {
	shapers := map[kernel.ShaperKey]kernel.Shaper{}
	if l.Ingress != (Limit{}) {
		shapers[kernel.ShaperKey{Link: hostLink, Direction: kernel.ToPod}] = l.Ingress.shaper(mtu)
	}
	if l.Egress != (Limit{}) {
		shapers[kernel.ShaperKey{Link: hostLink, Direction: kernel.FromPod}] = l.Egress.shaper(mtu)
	}
	return shapers
}
