package kernel

import (
	"cmp"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Direction is a way through a pod link.
type Direction string

// The ways through a pod link.
const (
	ToPod   Direction = "to the pod"
	FromPod Direction = "from the pod"
)

// ShaperKey names the shaper of one direction of a pod link, by its host end.
type ShaperKey struct {
	Link      string
	Direction Direction
}

// Shaper limits what passes a pod link in one direction. Packets above the
// rate wait in a queue, and are dropped when that is full. It is made of a
// token bucket (tbf) on a device of the node, where the pod cannot reach it: to
// the pod on the host end itself, from the pod on an ifb device
// ([ShaperLink]) to which the host end redirects what it receives. The queue is
// fq_codel where the kernel has it. The zero Shaper is in an actual State only
// and means that parts are missing.
type Shaper struct {
	Rate  uint64 // bytes per second, of frames
	Burst uint32 // bytes that may pass at once after silence
	Queue uint32 // bytes that may wait, where the kernel has no fq_codel
}

// ShaperPrefix begins the name of the ifb device of a pod link.
const ShaperPrefix = "rws"

// ShaperLink names the ifb device that shapes what comes from the pod whose
// link has that host end.
func ShaperLink(hostLink string) string {
	return ShaperPrefix + strings.TrimPrefix(hostLink, PodLinkPrefix)
}

// shapedLink is the inverse of ShaperLink.
func shapedLink(name string) string { return PodLinkPrefix + strings.TrimPrefix(name, ShaperPrefix) }

// isShaperLink says whether the name is that of an ifb device of ours.
func isShaperLink(name string) bool { return strings.HasPrefix(name, ShaperPrefix) }

// device is where the token bucket is.
func (k ShaperKey) device() string {
	if k.Direction == FromPod {
		return ShaperLink(k.Link)
	}
	return k.Link
}

// ShaperAdd makes a shaper in the place of any other queueing of that
// direction. It keeps what is there of it: plugin and daemon may be at it at
// the same time.
type ShaperAdd struct {
	ShaperKey
	Shaper
}

// ShaperSet changes the numbers of a shaper that is there.
type ShaperSet struct {
	ShaperKey
	Shaper
}

// ShaperDel takes a shaper away, or what is left of one.
type ShaperDel struct {
	ShaperKey
}

const (
	// shaperHandle marks the token bucket as ours; others have the root of a
	// pod link, too, such as the plugin bandwidth behind ours in a chain.
	shaperHandle = 0x114
	// codelHandle and fifoHandle are those of the queue: under one number the
	// kernel would not let one kind replace the other.
	codelHandle = 0x115
	fifoHandle  = 0x116
	// redirectPriority marks the filter that redirects to the ifb device.
	redirectPriority = 114
	// redirectHandle is the first entry of the first u32 table of a device.
	// Naming it makes a filter that is there be replaced, not doubled.
	redirectHandle = 0x80000001
	// shaperMTU keeps IPv6 off an ifb device: below 1280 (RFC 8200) it gets no
	// address, sends nothing by itself. Redirected packets may be larger.
	shaperMTU = 1279
)

// psTick is the unit of the kernel's packet scheduler clock.
const psTick = 64 // ns

// ticks is the time that a burst takes, in the form that the kernel reads and
// lists it.
func (s Shaper) ticks() float64 {
	return float64(s.Burst) * float64(time.Second) / float64(max(s.Rate, 1)) / psTick
}

// burstOf is the inverse of ticks.
func burstOf(ticks uint32, rate uint64) uint32 {
	return uint32(min(math.Round(float64(ticks)*psTick*float64(rate)/float64(time.Second)), math.MaxUint32))
}

// over returns what is wanted of a shaper that exists: the kernel lists the
// burst as a time, which is rounded, and cut off where it exceeds 274 s.
func (s Shaper) over(have Shaper) Shaper {
	const oneTick = float64(psTick) / float64(time.Second)
	tolerance := 2 + 2*float64(s.Rate)*oneTick + float64(s.Burst)/1e6
	if s.ticks() > math.MaxUint32 || math.Abs(float64(s.Burst)-float64(have.Burst)) <= tolerance {
		s.Burst = have.Burst
	}
	return s
}

// frame is the size of a packet that every queue must be able to hold.
const frame = 1514 // bytes

// fqCodel are the parameters of the queue. CoDel drops what waits longer than
// the target; at low rates a single packet takes longer than the usual 5 ms. The
// number of flows is not among them: a queue that exists refuses to be told.
func (s Shaper) fqCodel() (target, interval time.Duration, memory uint32) {
	target = max(5*time.Millisecond, (frame * 3 / 2 * time.Second / time.Duration(clampRate(s.Rate))).Truncate(time.Microsecond))
	interval = max(100*time.Millisecond, 10*target)
	const most = 32 << 20 // the kernel's default; a packet needs up to thrice its size
	return min(target, time.Minute), min(interval, 10*time.Minute), min(256<<10+4*min(s.Queue, most), most)
}

func clampRate(rate uint64) uint64 { return min(max(rate, 1), math.MaxInt64) }

func (k ShaperKey) bucketCommands(s Shaper) string {
	target, interval, memory := s.fqCodel()
	dev := k.device()
	queue := fmt.Sprintf("tc qdisc replace dev %s parent %x:1 handle", dev, shaperHandle)
	return fmt.Sprintf("tc qdisc replace dev %s root handle %x: tbf rate %dbit burst %d limit %d\n", dev, shaperHandle, s.Rate*8, s.Burst, s.Queue) +
		fmt.Sprintf("%s %x: fq_codel quantum %d target %dus interval %dus memory_limit %d 2>/dev/null || %s %x: bfifo limit %d",
			queue, codelHandle, frame, target.Microseconds(), interval.Microseconds(), memory, queue, fifoHandle, s.Queue)
}

func (o ShaperAdd) String() string {
	bucket := o.bucketCommands(o.Shaper)
	if o.Direction == ToPod {
		return bucket
	}
	ifb := o.device()
	return "ip link add name " + ifb + " mtu " + strconv.Itoa(shaperMTU) + " type ifb 2>/dev/null || true\n" +
		"ip link set dev " + ifb + " up\n" +
		bucket + "\n" +
		"tc qdisc add dev " + o.Link + " clsact 2>/dev/null || true\n" +
		fmt.Sprintf("tc filter replace dev %s ingress pref %d protocol all handle 800::1 u32 match u32 0 0 action mirred egress redirect dev %s",
			o.Link, redirectPriority, ifb)
}

func (o ShaperSet) String() string { return o.bucketCommands(o.Shaper) }

func (o ShaperDel) String() string {
	if o.Direction == ToPod {
		return "tc qdisc del dev " + o.Link + " root"
	}
	return fmt.Sprintf("tc filter del dev %s ingress pref %d 2>/dev/null || true\n", o.Link, redirectPriority) +
		"ip link del dev " + o.device()
}

// addShapers plans what limits pod links.
func (d *differ) addShapers() {
	for _, k := range sorted(d.desired.Shapers, compareShaper) {
		want := d.desired.Shapers[k]
		have, ok := d.actual.Shapers[k]
		switch {
		case !ok, have == Shaper{}:
			d.plan.add(ShaperAdd{k, want})
		case have != want.over(have):
			d.plan.add(ShaperSet{k, want})
		}
	}
}

func (d *differ) deleteShapers() {
	for _, k := range sorted(d.actual.Shapers, compareShaper) {
		if _, ok := d.desired.Shapers[k]; !ok {
			d.plan.add(ShaperDel{k})
		}
	}
}

func compareShaper(a, b ShaperKey) int {
	return cmp.Or(cmp.Compare(a.Link, b.Link), cmp.Compare(a.Direction, b.Direction))
}
