package leases

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/ropeway-net/ropeway/endpoint"
	"github.com/ropeway-net/ropeway/ipam"
	"github.com/ropeway-net/ropeway/kernel"
)

// Collection is what [Collect] did, or would do.
type Collection struct {
	Freed []Lease `json:"freed"`
	// Kept are addresses that nothing holds and that were not freed; Reason
	// says why.
	Kept  []Lease  `json:"kept"`
	Notes []string `json:"notes,omitempty"`
}

// Candidates are the addresses that [Collect] would free: in networks that
// Ropeway's allocator writes to, those that are certainly unused.
func Candidates(ctx context.Context, places Places, networks ...string) (Collection, error) {
	c, _, err := candidates(ctx, places, networks)
	return c, err
}

func candidates(ctx context.Context, places Places, networks []string) (Collection, Report, error) {
	c := Collection{Freed: []Lease{}, Kept: []Lease{}}
	report, err := Inspect(ctx, places, networks...)
	if err != nil {
		return c, report, err
	}
	c.Notes = report.Notes
	for _, n := range report.Networks {
		for _, l := range n.Leases {
			switch {
			case l.Use == Unused && n.Ours:
				c.Freed = append(c.Freed, l)
			case l.Use == Unused:
				l.Reason += "; the network is host-local's, and only looked at"
				c.Kept = append(c.Kept, l)
			case l.Use == Unsure:
				c.Kept = append(c.Kept, l)
			}
		}
	}
	return c, report, nil
}

// Collect frees the addresses that are certainly unused, with the records of
// pods that ended without a DEL. It takes each network's lock, and looks again
// under it. It goes on with the next network after an error.
func Collect(ctx context.Context, places Places, networks ...string) (Collection, error) {
	c, report, err := candidates(ctx, places, networks)
	if err != nil {
		return c, err
	}
	wanted := c.Freed
	c.Freed = []Lease{}
	var errs []error
	for _, n := range report.Networks {
		freed, err := collect(ctx, places, n, wanted)
		c.Freed = append(c.Freed, freed...)
		if err != nil {
			errs = append(errs, fmt.Errorf("network %s: %w", n.Name, err))
		}
	}
	return c, errors.Join(errs...)
}

// collect frees those of leases that are of one network.
func collect(ctx context.Context, places Places, n Network, leases []Lease) ([]Lease, error) {
	store := endpoint.Store{Dir: places.State.Endpoints()}
	of := map[netip.Addr]Lease{}
	var entries []ipam.Entry
	for _, l := range leases {
		if l.dir == n.Dir {
			of[l.Address] = l
			entries = append(entries, l.entry)
		}
	}
	if len(entries) == 0 {
		return nil, nil
	}
	unused := func(e ipam.Entry) bool { return stillUnused(store, of[e.Address]) }
	var freed []Lease
	// Without a boot id: what an earlier boot left is dropped address by address.
	_, err := ipam.Open(n.Dir, "").Drop(ctx, entries, unused, func(dropped []ipam.Entry) error {
		var errs []error
		for _, e := range dropped {
			l := of[e.Address]
			freed = append(freed, l)
			if l.record != nil {
				errs = append(errs, store.Remove(l.record.ContainerID, l.record.IfName))
			}
		}
		return errors.Join(errs...)
	})
	return freed, err
}

// stillUnused looks again, under the lock of the reservations. An ADD that has
// none yet waits for the lock; one that has, has changed the file.
func stillUnused(store endpoint.Store, l Lease) bool {
	if l.ContainerID == "" {
		return true // under the lock nobody is writing it
	}
	if since, ok := store.ClaimedSince(l.ContainerID, l.IfName); ok && time.Since(since) < grace {
		return false
	}
	if l.record == nil {
		_, err := store.Read(l.ContainerID, l.IfName)
		return l.IfName == "" || errors.Is(err, endpoint.ErrNotFound)
	}
	now, err := store.Read(l.record.ContainerID, l.record.IfName)
	if err != nil || !now.Created.Equal(l.record.Created) {
		return false
	}
	linked, err := kernel.HasHostLink(l.record.HostLink)
	return err == nil && !linked
}
