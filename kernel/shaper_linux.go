package kernel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

const (
	etherLinkLayer = 1 // TC_LINKLAYER_ETHERNET, what tc gives; without it the kernel wants a table of rates
	allProtocols   = 0x0003
)

// lackingError means that the kernel has no such part of traffic control.
type lackingError struct {
	what, modules string
	err           error
}

func (e *lackingError) Error() string { return "the kernel lacks " + e.what + ": " + e.err.Error() }
func (e *lackingError) Unwrap() error { return e.err }

// lacking recognises the kernel's ways of saying that it knows no such kind.
func lacking(err error, what, modules string) error {
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EOPNOTSUPP) {
		return &lackingError{what, modules, err}
	}
	return err
}

func shaperRemedy(err error) string {
	var lacks *lackingError
	if errors.As(err, &lacks) {
		return "load " + lacks.modules + " with modprobe, or attach the pod without a limit of bandwidth"
	}
	return ""
}

func (a *application) addShaper(op ShaperAdd) error {
	host, err := a.index(op.Link)
	if err != nil {
		return err
	}
	if op.Direction == ToPod {
		return a.sendBucket(host, op.Shaper)
	}
	ifb, err := a.raiseIFB(op.device())
	if err != nil {
		return err
	}
	if err = a.sendBucket(ifb, op.Shaper); err != nil {
		return err
	}
	return a.sendRedirect(host, ifb)
}

func (a *application) setBucket(k ShaperKey, s Shaper) error {
	index, err := a.index(k.device())
	if err != nil {
		return err
	}
	return a.sendBucket(index, s)
}

// raiseIFB returns the index of an ifb device, which it makes unless it is
// there.
func (a *application) raiseIFB(name string) (int, error) {
	delete(a.indexes, name)
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU, attrs.Flags = name, shaperMTU, unix.IFF_UP
	attrs.TxQLen = -1
	err := a.conn.handle.LinkAdd(&netlink.Ifb{LinkAttrs: attrs})
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return 0, fmt.Errorf("device %s: %w", name, lacking(err, "the device ifb", "module ifb"))
	}
	made := err == nil
	link, err := a.conn.handle.LinkByName(name)
	if err != nil {
		return 0, fmt.Errorf("device %s: %w", name, err)
	}
	if link.Type() != "ifb" || link.Attrs().Group == RetiredGroup {
		if err = a.conn.handle.LinkDel(link); err != nil {
			return 0, fmt.Errorf("device %s, which is no ifb or out of use: %w", name, err)
		}
		return a.raiseIFB(name)
	}
	if !made {
		err = a.conn.handle.LinkSetUp(link)
	}
	return link.Attrs().Index, err
}

// tc returns a request about a device's traffic control.
func (a *application) tc(typ, flags, index int, handle, parent, info uint32) *nl.NetlinkRequest {
	req := a.conn.request(typ, flags|unix.NLM_F_ACK)
	req.AddData(&nl.TcMsg{Family: nl.FAMILY_ALL, Ifindex: int32(index), Handle: handle, Parent: parent, Info: info})
	return req
}

// sendBucket gives a device its token bucket and the queue before it.
func (a *application) sendBucket(index int, s Shaper) error {
	req := a.tc(unix.RTM_NEWQDISC, unix.NLM_F_CREATE|unix.NLM_F_REPLACE, index, shaperHandle<<16, netlink.HANDLE_ROOT, 0)
	req.AddData(nl.NewRtAttr(nl.TCA_KIND, nl.ZeroTerminated("tbf")))
	req.AddData(tbfOptions(s))
	if _, err := req.Execute(unix.NETLINK_ROUTE, 0); err != nil {
		return lacking(err, "the queueing discipline tbf", "module sch_tbf")
	}
	err := a.sendQueue(index, codelHandle, "fq_codel", codelOptions(s))
	if errors.Is(err, unix.ENOENT) {
		err = a.sendQueue(index, fifoHandle, "bfifo", nl.NewRtAttr(nl.TCA_OPTIONS, nl.Uint32Attr(s.Queue)))
	}
	return err
}

func (a *application) sendQueue(index int, handle uint32, kind string, options *nl.RtAttr) error {
	req := a.tc(unix.RTM_NEWQDISC, unix.NLM_F_CREATE|unix.NLM_F_REPLACE, index, handle<<16, shaperHandle<<16|1, 0)
	req.AddData(nl.NewRtAttr(nl.TCA_KIND, nl.ZeroTerminated(kind)))
	req.AddData(options)
	_, err := req.Execute(unix.NETLINK_ROUTE, 0)
	return err
}

func tbfOptions(s Shaper) *nl.RtAttr {
	rate := nl.TcRateSpec{Linklayer: etherLinkLayer, Rate: uint32(min(s.Rate, math.MaxUint32))}
	qopt := nl.TcTbfQopt{Rate: rate, Limit: s.Queue, Buffer: uint32(min(s.ticks(), math.MaxUint32))}
	options := nl.NewRtAttr(nl.TCA_OPTIONS, nil)
	options.AddRtAttr(nl.TCA_TBF_PARMS, qopt.Serialize())
	options.AddRtAttr(nl.TCA_TBF_BURST, nl.Uint32Attr(s.Burst))
	if s.Rate > math.MaxUint32 {
		options.AddRtAttr(nl.TCA_TBF_RATE64, nl.Uint64Attr(s.Rate))
	}
	return options
}

func codelOptions(s Shaper) *nl.RtAttr {
	target, interval, memory := s.fqCodel()
	options := nl.NewRtAttr(nl.TCA_OPTIONS, nil)
	for _, o := range []struct {
		attribute int
		value     uint32
	}{
		{nl.TCA_FQ_CODEL_QUANTUM, frame},
		{nl.TCA_FQ_CODEL_TARGET, uint32(target.Microseconds())},
		{nl.TCA_FQ_CODEL_INTERVAL, uint32(interval.Microseconds())},
		{nl.TCA_FQ_CODEL_MEMORY_LIMIT, memory},
	} {
		options.AddRtAttr(o.attribute, nl.Uint32Attr(o.value))
	}
	return options
}

// sendRedirect leads all that a host end receives through an ifb device. The
// number that it gives the filter makes it replace one of ours that is there;
// behind another program's u32 filters the kernel refuses that number.
func (a *application) sendRedirect(host, ifb int) error {
	req := a.tc(unix.RTM_NEWQDISC, unix.NLM_F_CREATE|unix.NLM_F_EXCL, host, netlink.HANDLE_CLSACT&0xffff0000, netlink.HANDLE_CLSACT, 0)
	req.AddData(nl.NewRtAttr(nl.TCA_KIND, nl.ZeroTerminated("clsact")))
	_, err := req.Execute(unix.NETLINK_ROUTE, 0)
	if err != nil && !errors.Is(err, unix.EEXIST) { // another program's is as good
		return lacking(err, "the queueing discipline clsact", "module sch_ingress")
	}
	send := func(handle uint32) error {
		req = a.tc(unix.RTM_NEWTFILTER, unix.NLM_F_CREATE|unix.NLM_F_REPLACE, host, handle, netlink.HANDLE_MIN_INGRESS, redirectInfo())
		req.AddData(nl.NewRtAttr(nl.TCA_KIND, nl.ZeroTerminated("u32")))
		req.AddData(redirectOptions(ifb))
		_, failure := req.Execute(unix.NETLINK_ROUTE, 0)
		return lacking(failure, "the classifier u32 or the action mirred", "modules cls_u32 and act_mirred")
	}
	if err = send(redirectHandle); !errors.Is(err, unix.EINVAL) {
		return err
	}
	if err = a.deleteRedirect(host); err != nil {
		return err
	}
	return send(0)
}

// redirectInfo is what a filter message says of priority and protocol.
func redirectInfo() uint32 {
	return redirectPriority<<16 | uint32(nl.Swap16(allProtocols))
}

func redirectOptions(ifb int) *nl.RtAttr {
	sel := nl.TcU32Sel{Flags: nl.TC_U32_TERMINAL, Nkeys: 1, Keys: []nl.TcU32Key{{}}}
	mirred := nl.TcMirred{Eaction: int32(netlink.TCA_EGRESS_REDIR), Ifindex: uint32(ifb)}
	mirred.Action = int32(netlink.TC_ACT_STOLEN)
	options := nl.NewRtAttr(nl.TCA_OPTIONS, nil)
	options.AddRtAttr(nl.TCA_U32_SEL, sel.Serialize())
	action := options.AddRtAttr(nl.TCA_U32_ACT, nil).AddRtAttr(nl.TCA_ACT_TAB, nil)
	action.AddRtAttr(nl.TCA_ACT_KIND, nl.ZeroTerminated("mirred"))
	action.AddRtAttr(nl.TCA_ACT_OPTIONS, nil).AddRtAttr(nl.TCA_MIRRED_PARMS, mirred.Serialize())
	return options
}

func (a *application) deleteShaper(k ShaperKey) error {
	if k.Direction == ToPod {
		host, err := a.index(k.Link)
		if err != nil {
			return err
		}
		_, err = a.tc(unix.RTM_DELQDISC, 0, host, 0, netlink.HANDLE_ROOT, 0).Execute(unix.NETLINK_ROUTE, 0)
		return err
	}
	if host, err := a.index(k.Link); err == nil {
		if err = a.deleteRedirect(host); err != nil {
			return err
		}
	} else if !errors.Is(err, errLinkMissing) {
		return err
	}
	return a.deleteLink(k.device())
}

// deleteRedirect deletes all filters of our priority.
func (a *application) deleteRedirect(host int) error {
	_, err := a.tc(unix.RTM_DELTFILTER, 0, host, 0, netlink.HANDLE_MIN_INGRESS, redirectPriority<<16).Execute(unix.NETLINK_ROUTE, 0)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENODEV) {
		return nil // no filter, no clsact, no link
	}
	return err
}

// DeleteShaperLink deletes the device that shapes what comes from a pod, by the
// host end of the pod's link. A device that is gone is no error.
func DeleteShaperLink(hostName string) error {
	s, err := newRouteSocket()
	if err != nil {
		return fmt.Errorf("open a netlink socket: %w", err)
	}
	defer s.Close()
	return deleteLink(s, ShaperLink(hostName))
}

// tcHeader reads a struct tcmsg.
func tcHeader(m []byte) (index int, handle, parent, info uint32) {
	return int(int32(binary.NativeEndian.Uint32(m[4:]))), binary.NativeEndian.Uint32(m[8:]),
		binary.NativeEndian.Uint32(m[12:]), binary.NativeEndian.Uint32(m[16:])
}
