package kernel_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"

	"github.com/ropeway-net/ropeway/kernel"
)

// TestRetiredLinkIsOutOfUseAndItsNamesAreFree: neither end can be used, the
// snapshot does not hold it, and who needs its names gets them.
func TestRetiredLinkIsOutOfUseAndItsNamesAreFree(t *testing.T) {
	inNode(t, func(pod string) {
		n, err := kernel.OpenPodNetns(pod)
		if err != nil {
			t.Error(err)
			return
		}
		defer n.Close()
		l := testLink()
		attach(t, n, l)
		if found, retiring := kernel.RetirePodLink(l.HostName); !found || retiring != nil {
			t.Errorf("retire: %v, %v", found, retiring)
		}
		if used, looking := kernel.HasHostLink(l.HostName); used || looking != nil {
			t.Errorf("in use: %v, %v", used, looking)
		}
		if err = n.Check(l); err == nil {
			t.Error("CHECK of a pod whose link is retired succeeds")
		}
		routes, err := netlink.RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{Protocol: kernel.RouteProtocol}, netlink.RT_FILTER_PROTOCOL)
		if err != nil || len(routes) > 0 {
			t.Errorf("routes to the pod: %v, %v", routes, err)
		}
		k, err := kernel.Open()
		if err != nil {
			t.Error(err)
			return
		}
		defer k.Close()
		snapshot, err := k.Snapshot(t.Context())
		if err != nil || len(snapshot.PodLinks) > 0 || len(snapshot.State.Neighbours) > 0 {
			t.Errorf("snapshot holds %v, %v: %v", snapshot.PodLinks, snapshot.State.Neighbours, err)
		}

		again := l // both names are taken by the retired link
		attach(t, n, again)
		if err := n.Check(again); err != nil {
			t.Errorf("check of the link that followed: %v", err)
		}
		if _, err := kernel.RetirePodLink(l.HostName); err != nil {
			t.Error(err)
		}
		if taken, err := n.HasLink(t.Context(), l.Name); taken || err != nil {
			t.Errorf("the pod's end keeps its name: %v, %v", taken, err)
		}
	})
}

func TestAllRetiredLinksAreDeletedAndNothingElse(t *testing.T) {
	for name, strangers := range map[string][]string{"alone": nil, "beside a link of somebody else in the group": {"stranger0"}} {
		t.Run(name, func(t *testing.T) {
			inNode(t, func(string) {
				// A kernel with tunnel modules has made some by itself.
				wanted := linkNames(t)
				for _, w := range append([]string{"other0", "other1", "rwpused", "rwpused1"}, strangers...) {
					wanted[w] = true
				}
				add := func(name, peer string, group uint32) {
					v := netlink.NewVeth(netlink.NewLinkAttrs())
					v.Name, v.PeerName, v.Group = name, peer, group
					if err := netlink.LinkAdd(v); err != nil {
						t.Error(err)
					}
				}
				add("other0", "other1", 5)
				add("rwpused", "rwpused1", 0)
				for _, s := range strangers {
					add(s, "peer0", kernel.RetiredGroup)
					wanted["peer0"] = true
				}
				for i := range 5 {
					name := fmt.Sprint("rwp", i)
					add(name, name+"peer", 0)
					if found, err := kernel.RetirePodLink(name); !found || err != nil {
						t.Errorf("retire %s: %v, %v", name, found, err)
					}
				}
				for range 2 {
					if err := kernel.DeleteRetired(t.Context()); err != nil {
						t.Error(err)
					}
				}
				if diff := cmp.Diff(wanted, linkNames(t)); diff != "" {
					t.Errorf("links (-want +got):\n%s", diff)
				}
			})
		})
	}
}

func linkNames(t *testing.T) map[string]bool {
	links, err := netlink.LinkList()
	if err != nil {
		t.Error(err)
	}
	names := map[string]bool{}
	for _, l := range links {
		names[l.Attrs().Name] = true
	}
	return names
}
