package kernel

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// shaperReading is what has been found of shapers.
type shaperReading struct {
	links   map[int]netlink.Link // host ends and ifb devices that are in use
	buckets map[int]Shaper       // our token buckets, by device
	filters map[int]struct{}     // host ends that may have filters
	odd     map[int]struct{}     // devices whose bucket has a queue that is not ours
}

func newShaperReading() shaperReading {
	return shaperReading{
		links: map[int]netlink.Link{}, buckets: map[int]Shaper{}, filters: map[int]struct{}{}, odd: map[int]struct{}{},
	}
}

func (s shaperReading) take(l netlink.Link) {
	if l.Attrs().Group != RetiredGroup {
		s.links[l.Attrs().Index] = l
	}
}

// name returns that of a link which may have a shaper, "" for any other.
func (s shaperReading) name(index int) string {
	if l, ok := s.links[index]; ok {
		return l.Attrs().Name
	}
	return ""
}

// readShapers dumps the queueing disciplines once, and the filters of those
// host ends that can have some.
func (c *conn) readShapers(ctx context.Context, r *reading) error {
	r.snapshot.State.Shapers = map[ShaperKey]Shaper{}
	found, err := dump(ctx, "queueing disciplines", func() (shaperReading, error) {
		s := newShaperReading()
		s.links = r.shapers.links
		req := c.request(unix.RTM_GETQDISC, unix.NLM_F_DUMP)
		req.AddData(&nl.TcMsg{Family: nl.FAMILY_ALL})
		err := req.ExecuteIter(unix.NETLINK_ROUTE, unix.RTM_NEWQDISC, func(m []byte) bool {
			if len(m) >= nl.SizeofTcMsg {
				s.qdisc(m)
			}
			return true
		})
		return s, err
	})
	if errors.Is(err, unix.EOPNOTSUPP) {
		return nil // a kernel without traffic control
	}
	if err != nil {
		return err
	}
	for index, s := range found.buckets {
		if name := found.name(index); isPodLink(name) {
			r.snapshot.State.Shapers[ShaperKey{name, ToPod}] = found.whole(index, s)
		}
	}
	redirects := map[string]int{}
	for index := range found.filters {
		if redirects[found.name(index)], err = c.readRedirect(ctx, index); err != nil {
			return err
		}
	}
	for index, link := range found.links {
		if !isShaperLink(link.Attrs().Name) {
			continue
		}
		host := shapedLink(link.Attrs().Name)
		s := found.whole(index, found.buckets[index])
		if redirects[host] != index || link.Type() != "ifb" || link.Attrs().Flags&net.FlagUp == 0 {
			s = Shaper{}
		}
		r.snapshot.State.Shapers[ShaperKey{host, FromPod}] = s
	}
	return nil
}

// whole returns the shaper of a device unless its queue is somebody else's.
func (s shaperReading) whole(index int, bucket Shaper) Shaper {
	if _, odd := s.odd[index]; odd {
		return Shaper{}
	}
	return bucket
}

// qdisc takes in an entry of the kernel's list.
func (s shaperReading) qdisc(m []byte) {
	index, handle, parent, _ := tcHeader(m)
	name := s.name(index)
	if name == "" {
		return
	}
	attrs, err := parseAttributes(m[nl.SizeofTcMsg:])
	if err != nil {
		return
	}
	kind, options := "", []byte(nil)
	for _, a := range attrs {
		switch a.Attr.Type {
		case nl.TCA_KIND:
			kind = unix.ByteSliceToString(a.Value)
		case nl.TCA_OPTIONS:
			options = a.Value
		}
	}
	switch {
	case handle>>16 == netlink.HANDLE_CLSACT>>16 && isPodLink(name): // clsact or ingress
		s.filters[index] = struct{}{}
	case handle == shaperHandle<<16 && parent == netlink.HANDLE_ROOT:
		s.buckets[index] = Shaper{}
		if kind == "tbf" {
			s.buckets[index] = parseTBF(options)
		}
	case parent>>16 == shaperHandle && kind != "fq_codel" && kind != "bfifo":
		s.odd[index] = struct{}{}
	}
}

// parseTBF reads the options of a token bucket; damaged ones are zero.
func parseTBF(options []byte) Shaper {
	attrs, err := parseAttributes(options)
	if err != nil {
		return Shaper{}
	}
	var s Shaper
	var ticks uint32
	for _, a := range attrs {
		switch {
		case a.Attr.Type == nl.TCA_TBF_PARMS && len(a.Value) >= nl.SizeofTcTbfQopt:
			q := nl.DeserializeTcTbfQopt(a.Value)
			s.Rate, s.Queue, ticks = max(s.Rate, uint64(q.Rate.Rate)), q.Limit, q.Buffer
		case a.Attr.Type == nl.TCA_TBF_RATE64 && len(a.Value) == 8:
			s.Rate = binary.NativeEndian.Uint64(a.Value)
		}
	}
	s.Burst = burstOf(ticks, s.Rate)
	return s
}

// readRedirect returns the device to which our filter redirects what a host
// end receives, 0 if there is none or it is not the only one.
func (c *conn) readRedirect(ctx context.Context, index int) (int, error) {
	filters, err := dump(ctx, "filters", func() ([]netlink.Filter, error) {
		return c.handle.FilterList(byIndex(index), netlink.HANDLE_MIN_INGRESS)
	})
	if errors.Is(err, unix.ENODEV) || errors.Is(err, unix.EINVAL) {
		return 0, nil // the link is gone by now
	}
	if err != nil {
		return 0, err
	}
	to := 0
	for _, f := range filters {
		u32, ok := f.(*netlink.U32)
		if !ok || f.Attrs().Priority != redirectPriority || len(u32.Actions) != 1 {
			continue
		}
		if m, ok := u32.Actions[0].(*netlink.MirredAction); ok && m.MirredAction == netlink.TCA_EGRESS_REDIR {
			to = m.Ifindex
		}
	}
	return to, nil
}

// CheckShapers compares the shapers of one pod link with what is wanted. The
// error names each that differs.
func CheckShapers(ctx context.Context, hostName string, want map[ShaperKey]Shaper) error {
	k, err := Open()
	if err != nil {
		return err
	}
	defer func() { _ = k.Close() }()
	c := k.(*conn)
	r := &reading{snapshot: Snapshot{State: newState()}, shapers: newShaperReading()}
	for _, name := range []string{hostName, ShaperLink(hostName)} {
		link, err := c.handle.LinkByName(name)
		if errors.As(err, &netlink.LinkNotFoundError{}) {
			continue
		}
		if err != nil {
			return fmt.Errorf("look up link %s: %w", name, err)
		}
		r.shapers.take(link)
	}
	if err := c.readShapers(ctx, r); err != nil {
		return err
	}
	return compareShapers(r.snapshot.State.Shapers, want)
}

func compareShapers(have, want map[ShaperKey]Shaper) error {
	var differences []error
	for _, key := range sorted(want, compareShaper) {
		w := want[key]
		h, there := have[key]
		switch {
		case !there:
			differences = append(differences, fmt.Errorf("nothing limits the rate %s on %s: there is no token bucket on %s", key.Direction, key.Link, key.device()))
		case h == Shaper{}:
			differences = append(differences, fmt.Errorf("the rate %s on %s is not limited: %s, its token bucket or the redirection to it is not as it should be", key.Direction, key.Link, key.device()))
		case h != w.over(h):
			differences = append(differences, fmt.Errorf("the rate %s on %s is limited to %d bit/s with a burst of %d and a queue of %d bytes, not %d, %d and %d",
				key.Direction, key.Link, h.Rate*8, h.Burst, h.Queue, w.Rate*8, w.Burst, w.Queue))
		}
	}
	return errors.Join(differences...)
}
