package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/ropeway-net/ropeway/endpoint"
	"github.com/ropeway-net/ropeway/hostports"
	"github.com/ropeway-net/ropeway/ipam"
	"github.com/ropeway-net/ropeway/kernel"
)

// removeOrphans removes what no readable record names: records that are damaged,
// links whose record somebody removed, shapers whose link is gone, and ports that
// lead to no pod. What may belong to another network, whose list this GC does not
// have, stays. The kernel is asked before the records and claims are, so that what
// an ADD makes meanwhile is known by its claim.
func removeOrphans(ctx context.Context, c conf, valid []ipam.Attachment, bootID string) error {
	store := endpoint.Store{Dir: c.StateDir.Endpoints()}
	shapers, err := kernel.StrayShapers(ctx)
	if err != nil {
		return err
	}
	ends, err := kernel.HostEnds(ctx)
	if err != nil {
		return err
	}
	files, err := store.Files()
	if err != nil {
		return err
	}
	o := orphans{conf: c, boot: bootID, ends: map[string]kernel.HostEnd{}, kept: map[string]bool{}}
	for _, e := range ends {
		o.ends[e.Name] = e
	}
	for _, a := range valid {
		o.kept[endpoint.HostLink(a.ContainerID, a.IfName)] = true
	}
	var errs []error
	for _, f := range files {
		if f.Claim || !f.IsDamaged() {
			o.keep(f)
		} else if err := o.removeDamaged(ctx, f); err != nil {
			errs = append(errs, fmt.Errorf("damaged record %s: %w; remove the file once its container is gone", f.Path, err))
		}
	}
	for _, e := range o.ends {
		if !o.kept[e.Name] && (e.IsOf(c.Name) || e.IsNobodys()) {
			errs = append(errs, o.removeLink(ctx, e.Name))
		}
	}
	for _, link := range shapers {
		if !o.kept[link] {
			_, err := kernel.RetireShaperLink(link)
			errs = append(errs, err)
		}
	}
	return errors.Join(append(errs, o.closeStrangersPorts(ctx))...)
}

// orphans is the search for them.
type orphans struct {
	conf
	boot string
	ends map[string]kernel.HostEnd // in the kernel, by name
	kept map[string]bool           // links that are not to be touched
}

func (o orphans) keep(f endpoint.File) {
	for _, link := range f.HostLinks {
		o.kept[link] = true
	}
}

// removeDamaged removes a damaged record together with its link, unless the
// runtime lists the attachment, or the link is of another network.
func (o orphans) removeDamaged(ctx context.Context, f endpoint.File) error {
	for _, link := range f.HostLinks {
		end, linked := o.ends[link]
		if o.kept[link] || linked && !end.IsOf(o.Name) && !end.IsNobodys() {
			o.keep(f)
			return nil
		}
	}
	for _, link := range f.HostLinks {
		if _, linked := o.ends[link]; linked {
			if err := o.removeLink(ctx, link); err != nil {
				o.keep(f)
				return err
			}
		}
	}
	return f.Remove()
}

// removeLink detaches what only its link tells of. Its addresses go with the
// other reservations that nobody lists.
func (o orphans) removeLink(ctx context.Context, name string) error {
	nothing := func() error { return nil }
	if _, err := detach(ctx, endpoint.Record{HostLink: name}, o.boot, noAllocator{}, nothing); err != nil {
		return fmt.Errorf("link %s: %w", name, err)
	}
	delete(o.ends, name)
	return nil
}

// closeStrangersPorts closes the ports that lead to an address which neither a
// record nor a link has, of whatever network: no pod can have it.
func (o orphans) closeStrangersPorts(ctx context.Context) error {
	table, err := kernel.ReadTable(ctx, kernel.PartOf(hostports.Elements()))
	if err != nil || table == nil {
		return nil // without nf_tables or the table there are no ports
	}
	pods := map[netip.Addr]bool{}
	ends, err := kernel.HostEnds(ctx)
	if err != nil {
		return err
	}
	for _, e := range ends {
		for _, a := range e.Addresses {
			pods[a] = true
		}
	}
	records, _ := endpoint.Store{Dir: o.StateDir.Endpoints()}.List()
	for _, r := range records {
		for _, a := range r.Addresses {
			pods[a] = pods[a] || r.BootID == o.boot
		}
	}
	strangers := hostports.Strangers(table, pods)
	if len(strangers) == 0 {
		return nil
	}
	return portsOf{pod: strangers}.close(ctx)
}

// noAllocator holds nothing.
type noAllocator struct{ allocator }

func (noAllocator) release(context.Context) error { return nil }
