package kernel

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"sync"

	mdl "github.com/mdlayher/netlink"
	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// culprits remembers whose requests changed what Ropeway owns. A notification
// names the netlink socket whose request it is about, and the first socket of
// a process has the process's PID for a name.
type culprits struct {
	ns netns.NsHandle // that is watched; None is the one of this process

	mu    sync.Mutex
	found []Culprit
}

// Culprits implements [Kernel].
func (c *conn) Culprits() []Culprit {
	c.culprits.mu.Lock()
	defer c.culprits.mu.Unlock()
	found := c.culprits.found
	c.culprits.found = nil
	return found
}

// blame looks at once who has a PID: most programs that change a route do not
// live long.
func (c *culprits) blame(port uint32) {
	pid := int(port)
	if port == 0 || port > math.MaxInt32 || pid == os.Getpid() {
		return // the kernel itself, a further socket of somebody, or we
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	known := slices.ContainsFunc(c.found, func(k Culprit) bool { return k.PID == pid })
	if known || len(c.found) >= mostCulprits {
		return
	}
	culprit := Culprit{PID: pid, Program: c.program(pid)}
	if !strings.HasPrefix(culprit.Program, ownPrograms) {
		c.found = append(c.found, culprit)
	}
}

// program names a process, "" if there is none that the PID can mean: a
// process in a container may have a socket named by the PID that it has there.
func (c *culprits) program(pid int) string {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return ""
	}
	p, ok := parseProcessStatus(status)
	if !ok || p.thread || p.innerPID != 0 && p.innerPID != pid || !c.mayBeIn(pid) {
		return ""
	}
	return p.name
}

// mayBeIn says whether a process is in the watched namespace, as far as this
// one is allowed to know.
func (c *culprits) mayBeIn(pid int) bool {
	var its, ours unix.Stat_t
	if unix.Stat(fmt.Sprintf("/proc/%d/ns/net", pid), &its) != nil {
		return true
	}
	var err error
	if c.ns.IsOpen() {
		err = unix.Fstat(int(c.ns), &ours)
	} else {
		err = unix.Stat("/proc/self/ns/net", &ours)
	}
	return err != nil || its.Ino == ours.Ino && its.Dev == ours.Dev
}

// ownership tells changes of what Ropeway owns from those that only concern
// it. Pod links are left out: the plugin makes and deletes them.
type ownership struct {
	tunnels map[int32]bool // by index
}

func (c *conn) ownership(ctx context.Context) (ownership, error) {
	links, err := dump(ctx, "links", c.handle.LinkList)
	if err != nil {
		return ownership{}, err
	}
	o := ownership{tunnels: map[int32]bool{}}
	for _, l := range links {
		if isTunnelLink(l.Attrs().Name) {
			o.tunnels[int32(l.Attrs().Index)] = true
		}
	}
	return o, nil
}

// damaged says whether a message of rtnetlink is about a change of what
// Ropeway owns, as somebody else may make it.
func (o ownership) damaged(m mdl.Message) bool {
	b := m.Data
	const index = 4 // bytes in front of it, in the messages about links, addresses and neighbours
	if len(b) < index+4 {
		return false
	}
	link := int32(binary.NativeEndian.Uint32(b[index:]))
	switch m.Header.Type {
	case unix.RTM_NEWLINK, unix.RTM_DELLINK:
		return o.link(m.Header.Type, b)
	case unix.RTM_NEWADDR, unix.RTM_DELADDR, unix.RTM_NEWNEIGH, unix.RTM_DELNEIGH:
		return o.tunnels[link]
	case unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
		if len(b) < unix.SizeofRtMsg {
			return false
		}
		msg := nl.DeserializeRtMsg(b)
		if m.Header.Type == unix.RTM_DELROUTE {
			return msg.Protocol == RouteProtocol
		}
		return msg.Protocol != RouteProtocol && msg.Table == unix.RT_TABLE_MAIN && m.Header.Flags&unix.NLM_F_REPLACE != 0
	}
	return false
}

// link keeps the set of tunnels current.
func (o ownership) link(typ mdl.HeaderType, b []byte) bool {
	if len(b) < unix.SizeofIfInfomsg {
		return false
	}
	index := nl.DeserializeIfInfomsg(b).Index
	known := o.tunnels[index]
	if typ == unix.RTM_DELLINK {
		delete(o.tunnels, index)
		return known
	}
	if name, ok := attribute(b[unix.SizeofIfInfomsg:], unix.IFLA_IFNAME); ok && isTunnelLink(unix.ByteSliceToString(name)) {
		o.tunnels[index] = true
	}
	return known
}
